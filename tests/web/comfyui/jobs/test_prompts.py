"""POST /prompt and what follows it: the queue, interrupts, the history."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually
from tests.web.site import Site

pytestmark = pytest.mark.anyio


async def queued(client: httpx.AsyncClient, graph: object, **fields: object) -> str:
    answer = await client.post("/prompt", json={"prompt": graph, **fields})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["prompt_id"])


async def history_of(client: httpx.AsyncClient, prompt_id: str) -> dict[str, Any]:
    async def ended() -> dict[str, Any]:
        found: dict[str, Any] = (await client.get(f"/history/{prompt_id}")).json()
        return found

    return dict((await eventually(ended, 30))[prompt_id])


async def test_a_prompt_is_queued_run_and_shown_in_the_history(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    await stack.runner(await stack.comfy())
    chosen, graph = str(uuid.uuid4()), sleeper(0.2)
    extra = {"extra_pnginfo": {"workflow": {"id": "w"}}, "api_key_comfy_org": "comfyui-secret-key"}
    body = {"prompt": graph, "prompt_id": chosen, "client_id": "me", "extra_data": extra}

    accepted = await client.post("/prompt", json=body)
    assert accepted.status_code == 200
    assert accepted.json() == {"prompt_id": chosen, "number": accepted.json()["number"],
                               "node_errors": {}}  # fmt: skip
    entry = await history_of(client, chosen)

    number, prompt_id, shown, extra_data, outputs = entry["prompt"]
    assert (number, prompt_id, outputs) == (accepted.json()["number"], chosen, ["3"])
    assert shown == graph
    assert extra_data == {
        "extra_pnginfo": {"workflow": {"id": "w"}}, "client_id": "me", "create_time": number
    }  # fmt: skip
    assert "comfyui-secret-key" not in str(entry)
    assert entry["status"]["status_str"] == "success"
    assert [kind for kind, _ in entry["status"]["messages"]] == [
        "execution_start", "execution_cached", "execution_success"
    ]  # fmt: skip
    assert entry["meta"]["3"]["real_node_id"] == "3"
    [image] = entry["outputs"]["3"]["images"]
    assert image.keys() == {"filename", "subfolder", "type"}
    assert image["type"] == "output"


async def test_the_same_prompt_again_is_the_same_job(client: httpx.AsyncClient, site: Site) -> None:
    body = {"prompt": sleeper(1), "prompt_id": str(uuid.uuid4())}
    first, again = [await client.post("/prompt", json=body) for _ in range(2)]
    other = await client.post("/prompt", json={**body, "prompt": sleeper(2)})

    assert first.json() == again.json()
    assert len((await site.everfold.list()).jobs) == 1
    assert other.status_code == 400
    assert other.json()["error"]["type"] == "prompt_id_in_use"


async def test_the_queue_shows_what_runs_and_what_waits_in_its_order(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    ids = [await queued(client, sleeper(60)) for _ in range(2)]
    await stack.runner(await stack.comfy(), slots=1)
    await stack.until_event(ids[0], "started")
    graph = sleeper(60)
    last, first = await queued(client, graph), await queued(client, sleeper(60), front=True)

    async def shown() -> str | None:
        queue = (await client.get("/queue")).json()
        found = [item[1] for item in queue["queue_pending"]]
        is_running = [item[1] for item in queue["queue_running"]] == ids[:1]
        return " ".join(["pending:", *found]) if is_running else None

    assert await eventually(shown, 10) == f"pending: {first} {ids[1]} {last}"
    items = (await client.get("/queue")).json()["queue_pending"]
    assert items[0][0] < 0 < items[1][0]
    assert items[-1][2] == graph
    assert (await client.get("/prompt")).json() == {"exec_info": {"queue_remaining": 4}}

    deleted = await client.post("/queue", json={"delete": [last, ids[0], "nobody", 7]})
    assert (deleted.status_code, deleted.content) == (200, b"")
    assert await eventually(shown, 10) == f"pending: {first} {ids[1]}"
    assert (await client.post("/queue", json={"clear": True})).status_code == 200
    assert await eventually(shown, 10) == "pending:"
    assert (await client.get(f"/history/{last}")).json() == {}

    assert (await client.post("/interrupt")).content == b""
    entry = await history_of(client, ids[0])
    assert entry["status"]["completed"] is False
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


async def test_an_interrupt_of_what_waits_changes_nothing(client: httpx.AsyncClient) -> None:
    waiting = await queued(client, sleeper(1))

    for body in ({"prompt_id": waiting}, {"prompt_id": "nobody"}, {}):
        assert (await client.post("/interrupt", json=body)).status_code == 200
    assert (await client.post("/interrupt", content=b"{")).status_code == 400
    pending = (await client.get("/queue")).json()["queue_pending"]
    assert [item[1] for item in pending] == [waiting]


async def test_a_failed_prompt_says_which_node_raised_what(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    await stack.runner(await stack.comfy())
    graph = {
        "1": {"class_type": "EmptyImage",
              "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 7}},
        "2": {"class_type": "JTRaise", "inputs": {"image": ["1", 0], "message": "boom",
                                                   "seconds": 0.0}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "n"}},
    }  # fmt: skip

    entry = await history_of(client, await queued(client, graph))

    kind, error = entry["status"]["messages"][-1]
    assert kind == "execution_error"
    assert (error["node_id"], error["node_type"]) == ("2", "JTRaise")
    assert (error["exception_type"], error["exception_message"]) == ("RuntimeError", "boom")
    assert error["executed"] == ["1"]
    assert all(line.endswith("\n") for line in error["traceback"])


async def test_the_history_is_bounded_and_can_be_hidden(
    client: httpx.AsyncClient, stack: Stack, site: Site
) -> None:
    await stack.runner(await stack.comfy(), slots=4)
    ids = list[str]()
    for _ in range(4):
        ids.append(await queued(client, sleeper(0.1)))
        await history_of(client, ids[-1])

    assert list((await client.get("/history")).json()) == ids
    assert list((await client.get("/history?max_items=2")).json()) == ids[2:]
    assert list((await client.get("/history?max_items=2&offset=1")).json()) == ids[1:3]
    assert (await client.get("/history?max_items=0")).json() == {}
    assert (await client.get("/history?max_items=x")).status_code == 400
    newest = (await client.get("/api/history_v2?max_items=1")).json()["history"]
    assert [one["prompt_id"] for one in newest] == ids[3:]
    assert newest[0]["prompt"]["workflow"] == (await history_of(client, ids[3]))["prompt"][2]
    one = (await client.get(f"/api/history_v2/{ids[3]}")).json()[ids[3]]
    assert one == newest[0]

    assert (await client.post("/history", json={"delete": ids[:1]})).status_code == 200
    assert list((await client.get("/history")).json()) == ids[1:]
    assert (await client.get(f"/history/{ids[0]}")).json() == {}
    assert (await client.post("/history", json={"clear": True})).content == b""
    assert (await client.get("/history")).json() == {}
    assert len((await site.everfold.list()).jobs) == 4  # the log keeps them
    last = await queued(client, sleeper(0.5))
    # Nothing is deleted of one that has no entry yet.
    assert (await client.post("/history", json={"delete": [last]})).status_code == 200
    await history_of(client, last)
    assert list((await client.get("/history")).json()) == [last]
