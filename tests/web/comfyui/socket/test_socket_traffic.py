"""Who is told, who is not, and what a socket may cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from everfold import Everfold
from everfold.streams.appending.log import UNLEASED
from everfold.streams.events.event import Canceled, CancelRequested, Failed, Failure
from everfold.web.comfyui.socket import client_socket, outbox
from everfold.web.comfyui.socket.frames import Text
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually
from tests.web.comfyui.socket.client import SocketClient, connected, heard
from tests.web.site import Site, serving

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "SaveImage", "inputs": {}}}


async def submitted(everfold: Everfold, client_id: str, user: str = "") -> str:
    job = await everfold.submit(GRAPH, metadata={"client_id": client_id}, user=user)
    return job.job_id


async def ended(everfold: Everfold, job_id: str) -> None:
    await everfold.log.append(job_id, CancelRequested(), epoch=0)
    await everfold.log.append(job_id, Canceled(), epoch=UNLEASED)


async def failed(everfold: Everfold, job_id: str) -> None:
    error = Failure(code="node_error", message="no")
    await everfold.log.append(job_id, Failed(failure=error), epoch=UNLEASED)


def remaining(client: SocketClient) -> list[int]:
    return [data["status"]["exec_info"]["queue_remaining"] for data in client.of("status")]


async def test_without_a_client_id_one_is_made_and_told(site: Site) -> None:
    async with connected(site.url) as one, connected(site.url) as other:
        sids = {client.messages[0][1]["sid"] for client in (one, other)}
    assert len(sids) == 2
    assert all(sids)


async def test_the_queue_is_counted_as_it_is(site: Site) -> None:
    before = await submitted(site.everfold, "nobody")
    async with connected(site.url, "ada") as client:
        job_id = await submitted(site.everfold, "ada")
        await eventually(lambda: remaining(client) == [1, 2], 10)
        await ended(site.everfold, job_id)
        await eventually(lambda: remaining(client) == [1, 2, 1], 10)
        await ended(site.everfold, before)
        await eventually(lambda: remaining(client) == [1, 2, 1, 0], 10)
        assert client.kinds == [], "one that was canceled before it began is not told of"


async def test_who_is_told_of_the_queue_finds_it_in_queue_and_history(
    site: Site, client: httpx.AsyncClient
) -> None:
    log = site.everfold.log
    async with (
        Everfold.connect(log.url, namespace=log.keys.namespace) as other,
        connected(site.url, "ada") as watcher,
    ):  # nobody folds anything: all that the lists know is what this gateway knows
        job_id = await submitted(other, "nobody")
        await eventually(lambda: remaining(watcher) == [0, 1], 10)
        [item] = (await client.get("/queue")).json()["queue_pending"]
        assert item[1] == job_id
        await failed(other, job_id)
        await eventually(lambda: remaining(watcher) == [0, 1, 0], 10)
        assert (await client.get("/queue")).json()["queue_pending"] == []
        assert list((await client.get("/history?max_items=1")).json()) == [job_id]
        assert list((await client.get(f"/history/{job_id}")).json()) == [job_id]


async def test_a_client_id_in_the_extra_data_counts_as_with_comfyui(
    site: Site, client: httpx.AsyncClient
) -> None:
    await site.stack.runner(await site.stack.comfy())
    body = {"prompt": sleeper(0.1), "extra_data": {"client_id": "ada", "more": 1}}
    async with connected(site.url, "ada") as ada, connected(site.url, "grace") as grace:
        prompt_id = (await client.post("/prompt", json=body)).json()["prompt_id"]
        await ada.until_over()
        other = (await client.post("/prompt", json={**body, "client_id": "grace"})).json()
        await grace.until_over()

    assert {data["prompt_id"] for data in ada.of("executing")} == {prompt_id}
    assert {data["prompt_id"] for data in grace.of("executing")} == {other["prompt_id"]}
    entry = (await client.get(f"/history/{prompt_id}")).json()[prompt_id]
    assert (entry["prompt"][3]["client_id"], entry["prompt"][3]["more"]) == ("ada", 1)


async def test_a_client_id_of_another_user_tells_nothing(site: Site) -> None:
    await site.stack.runner(await site.stack.comfy())
    async with connected(site.url, "ada") as client:
        graph, told = sleeper(0.2), {"client_id": "ada"}
        foreign = await site.everfold.submit(graph, metadata=told, user="grace")
        await site.stack.until(foreign.job_id, "succeeded")
        own = await site.everfold.submit(sleeper(0.2), metadata=told)
        await client.until_over()
        assert client.of_prompt(foreign.job_id) == []
        assert client.of_prompt(own.job_id) != []


async def test_two_sockets_of_one_client_both_hear_all_also_when_one_closes(site: Site) -> None:
    await site.stack.runner(await site.stack.comfy())
    async with connected(site.url, "ada") as kept:
        async with connected(site.url, "ada") as old:
            await site.everfold.submit(sleeper(0.2), metadata={"client_id": "ada"})
            await old.until_over()
            await kept.until_over()
            assert old.kinds == kept.kinds != []
        await site.everfold.submit(sleeper(0.2), metadata={"client_id": "ada"})
        await kept.until_over(2)


async def test_a_client_that_says_so_gets_previews_with_what_they_are_of(site: Site) -> None:
    runner = await site.stack.runner(await site.stack.comfy())
    graph = sleeper(1.0)
    graph["2"]["inputs"]["preview"] = True  # type: ignore[index]
    async with connected(site.url, "ada") as plain, connected(site.url, "ada") as modern:
        await heard(runner)
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        await modern.connection.send(json.dumps(flags))
        await eventually(lambda: modern.of("feature_flags"), 10)
        job = await site.everfold.submit(graph, metadata={"client_id": "ada"})
        await plain.until_over()
        await modern.until_over()

    (answer,) = modern.of("feature_flags")
    assert answer["supports_preview_metadata"] is True
    assert answer["max_upload_size"] > 0
    first = plain.of("binary")[0]["bytes"]
    assert first[:8] == bytes([0, 0, 0, 1, 0, 0, 0, 1])
    assert first[8:].startswith(b"\xff\xd8")
    first = modern.of("binary")[0]["bytes"]
    size = int.from_bytes(first[4:8], "big")
    about = json.loads(first[8 : 8 + size])
    assert first[:4] == bytes([0, 0, 0, 4])
    assert (about["prompt_id"], about["node_id"]) == (job.job_id, "2")
    assert about["image_type"] == "image/jpeg"
    assert first[8 + size :].startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    ("kind", "inputs", "told"),
    [
        ("SaveImageWebsocket", {}, 0),
        ("ETN_SendImageWebSocket", {"format": "PNG"}, 1),
        ("SwarmSaveImageWS", {}, 0),
    ],
)
async def test_pictures_that_are_outputs_come_once_each_before_the_end(
    site: Site, client: httpx.AsyncClient, kind: str, inputs: dict[str, object], told: int
) -> None:
    await site.stack.runner(await site.stack.comfy(), assets=site.everfold.assets.url)
    image = {"width": 16, "height": 16, "batch_size": 3, "color": 77}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": kind, "inputs": {"images": ["1", 0], **inputs}},
    }
    async with connected(site.url, "ada") as socket:
        job = await site.everfold.submit(graph, metadata={"client_id": "ada"})
        await socket.until_over()

    kinds = [kind for kind, _ in socket.messages]
    assert len(socket.of("binary")) == 3
    assert all(data["bytes"][8:12] == b"\x89PNG" for data in socket.of("binary"))
    of_node = [at for at, (kind, d) in enumerate(socket.messages) if d.get("node") == "2"]
    runs = max(at for at in of_node if kinds[at] != "executed")
    assert runs < kinds.index("binary") < kinds.index("execution_success")
    assert len(socket.of("executed")) == told
    shown = (await client.get(f"/api/v2/jobs/{job.job_id}")).json()["outputs"]
    assert [one["type"] for one in shown].count("image") == 3
    entry = (await client.get(f"/history/{job.job_id}")).json()[job.job_id]
    assert len(entry["outputs"]) == len(entry["meta"]) == told, "who took them takes them once"
    files = [one for output in entry["outputs"].values() for one in output["images"]]
    assert not any("filename" in one for one in files)


@pytest.mark.parametrize(
    "frames",
    [
        ["", "null", "[]", "{", '{"type": 7}', "\x00", '{"type":"feature_flags","data":7}'],
        [b"", b"\xff" * 100, b"\x00" * 60_000],
        ["[" * 60_000],
    ],
)
async def test_strange_messages_are_ignored(site: Site, frames: list[str | bytes]) -> None:
    for frame in frames:
        async with connected(site.url, "ada") as client:
            await client.connection.send(frame)
            await client.connection.send('{"type":"feature_flags","data":{}}')
            await submitted(site.everfold, "ada")
            await eventually(lambda: len(remaining(client)) == 2, 10)
            assert client.of("feature_flags") == [], "only the first message counts"


@pytest.mark.parametrize(("frames", "code"), [(["x" * 70_000], 1009), (["x"] * 300, 1008)])
async def test_a_client_that_floods_is_cut_off(site: Site, frames: list[str], code: int) -> None:
    async with connected(site.url, "ada") as client, connected(site.url, "ada") as other:
        with contextlib.suppress(Exception):
            for frame in frames:
                await client.connection.send(frame)
        await eventually(lambda: client.closed, 10)
        assert client.closed
        assert client.closed[0] == code
        assert other.closed is None


async def test_one_who_has_too_many_sockets_gets_no_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_socket, "MOST_SOCKETS", 2)
    async with connected(site.url, "a"), connected(site.url, "b"):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(site.url.replace("http", "ws") + "/ws", proxy=None):
                pass
    assert refused.value.response.status_code == 429
    async with connected(site.url, "c"):
        pass


async def test_a_client_id_has_a_length(site: Site) -> None:
    url = site.url.replace("http", "ws") + "/api/ws?clientId=" + "x" * 1001
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, proxy=None):
            pass
    assert refused.value.response.status_code == 400


async def test_a_gateway_that_stops_says_so(everfold: Everfold, site: Site) -> None:
    async with contextlib.AsyncExitStack() as exits:
        async with serving(everfold, site.stack) as second:
            client = await exits.enter_async_context(connected(second.url, "ada"))
        await eventually(lambda: client.closed, 10)
        assert client.closed
        assert client.closed[0] == 1012


@contextlib.asynccontextmanager
async def deaf(url: str, client_id: str) -> AsyncIterator[socket.socket]:
    """Open a websocket by hand that reads no more than its handshake."""
    host, port = url.removeprefix("http://").split(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    made.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(made, (host, int(port)))
    lines = (
        f"GET /ws?clientId={client_id} HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    )
    await loop.sock_sendall(made, ("\r\n".join(lines) + "\r\n\r\n").encode())
    assert (await loop.sock_recv(made, 12)).endswith(b"101")
    try:
        yield made
    finally:
        made.close()


async def test_one_who_does_not_read_is_dropped_and_holds_nobody_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_FRAMES", 200)
    hub = site.gateway.hub
    async with deaf(site.url, "deaf"), connected(site.url, "ada") as client:
        await eventually(lambda: len(hub) == 2, 10)
        count = 0
        async with asyncio.timeout(60):
            while len(hub) == 2:
                # Statuses of some hundred bytes fill the buffers of the connection first.
                for member in hub.members:
                    if member.client_id == "deaf":
                        member.outbox.put(Text("x" * 100_000))
                count += 1
                await asyncio.sleep(0)
        assert count > 200
        await submitted(site.everfold, "ada")
        await eventually(lambda: len(remaining(client)) == 2, 10)
        assert client.closed is None


async def test_two_hundred_sockets_hear_of_their_own_prompts(site: Site) -> None:
    await site.stack.runner(await site.stack.comfy())
    async with contextlib.AsyncExitStack() as exits:
        clients = [
            await exits.enter_async_context(connected(site.url, f"client-{number}"))
            for number in range(200)
        ]
        for name in ("client-7", "client-150"):
            await site.everfold.submit(sleeper(0.2), metadata={"client_id": name})
        for client in (clients[7], clients[150]):
            await client.until_over()
        await eventually(lambda: all(remaining(client)[-1] == 0 for client in clients), 20)
        assert [at for at, client in enumerate(clients) if client.kinds] == [7, 150]
