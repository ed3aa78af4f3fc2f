"""The traps of the real server, and the faults on demand."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect

from tests.simulator.client import Client
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

WORKFLOWS = Path(__file__).parent.parent / "data" / "workflows"


def graph(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((WORKFLOWS / f"{name}.json").read_text())
    return found


async def posted(comfy: Client, graph: object, **more: object) -> str:
    return str((await comfy.post(graph, **more)).json()["prompt_id"])


async def running(comfy: Client, prompt_id: str) -> bool:
    queue = await comfy.get("/queue")
    assert isinstance(queue, dict)
    return any(item[1] == prompt_id for item in queue["queue_running"])


async def ledger(comfy: Client) -> list[dict[str, object]]:
    rows = await comfy.get("/simulator/ledger")
    assert isinstance(rows, list)
    return rows


def outcome(entry: Mapping[str, object]) -> str:
    status = entry["status"]
    assert isinstance(status, dict)
    return str(status["messages"][-1][0])


async def test_success_is_said_before_the_history_has_it(comfy: Client) -> None:
    await comfy.fault("delay_history", seconds=0.3)
    async with comfy.socket("c") as socket:
        prompt_id = await posted(comfy, graph("fast_success"), client_id="c")
        await eventually(lambda: "execution_success" in socket.types(prompt_id))
        assert await comfy.history(prompt_id) is None
        await socket.until_end_of(prompt_id)
        assert await comfy.history(prompt_id) is not None


async def test_the_same_id_runs_twice_and_the_history_keeps_the_last(comfy: Client) -> None:
    prompt_id = str(uuid.uuid4())
    for _ in range(2):
        await posted(comfy, sleeper(0.5), prompt_id=prompt_id)
    await eventually(lambda: two_ended(comfy), 10)
    assert [row["prompt_id"] for row in await ledger(comfy)] == [prompt_id, prompt_id]


async def two_ended(comfy: Client) -> bool:
    return sum(1 for row in await ledger(comfy) if row["ended_at"]) == 2


async def test_equal_numbers_and_ids_give_500_although_the_prompt_is_queued(
    comfy: Client,
) -> None:
    await posted(comfy, sleeper(20))
    same = {"prompt_id": "same", "number": 7}
    assert (await comfy.post(sleeper(1, color=1), **same)).status_code == 200
    assert (await comfy.post(sleeper(1, color=2), **same)).status_code == 500
    queue = await comfy.get("/queue")
    assert isinstance(queue, dict)
    assert len(queue["queue_pending"]) == 2


@pytest.mark.parametrize("odd", [None, 7, "", "a/b c", "NOT-a-uuid"])
async def test_any_id_is_taken(comfy: Client, odd: object) -> None:
    assert await posted(comfy, graph("fast_success"), prompt_id=odd) == str(odd)


async def test_the_queue_is_a_heap_and_front_goes_first(comfy: Client) -> None:
    first = await posted(comfy, sleeper(5))
    await eventually(lambda: running(comfy, first))
    others = [await posted(comfy, sleeper(0.1)) for _ in range(3)]
    front = await posted(comfy, sleeper(0.1), front=True)
    queue = await comfy.get("/queue")
    assert isinstance(queue, dict)
    assert queue["queue_pending"][0][1] == front
    assert {item[1] for item in queue["queue_pending"]} == {front, *others}
    await comfy.http.post("/interrupt", json={"prompt_id": first})
    await eventually(lambda: all_ended(comfy), 10)
    assert [row["prompt_id"] for row in sorted(await ledger(comfy), key=began)] == [
        first,
        front,
        *others,
    ]


def began(row: Mapping[str, object]) -> float:
    return float(str(row["started_at"]))


async def all_ended(comfy: Client) -> bool:
    return all(row["ended_at"] for row in await ledger(comfy))


async def test_a_deleted_or_cleared_prompt_leaves_nothing(comfy: Client) -> None:
    first = await posted(comfy, sleeper(5))
    await eventually(lambda: running(comfy, first))
    second, third = await posted(comfy, sleeper(1)), await posted(comfy, sleeper(1))
    await comfy.http.post("/queue", json={"delete": [second, first]})
    queue = await comfy.get("/queue")
    assert isinstance(queue, dict)
    assert [item[1] for item in queue["queue_pending"]] == [third]
    await comfy.http.post("/queue", json={"clear": True})
    assert await comfy.get("/prompt") == {"exec_info": {"queue_remaining": 1}}
    assert await comfy.history(second) is None
    assert await running(comfy, first), "the running one is not deleted"


async def test_an_interrupted_prompt_ends_as_error_and_the_next_one_runs(comfy: Client) -> None:
    first = await posted(comfy, graph("long_interruptible"))
    await eventually(lambda: running(comfy, first))
    second = await posted(comfy, graph("fast_success"))
    await comfy.http.post("/interrupt", json={"prompt_id": second})
    assert await running(comfy, first), "a targeted interrupt of a pending prompt is ignored"
    await comfy.http.post("/interrupt", json={"prompt_id": first})
    entry = await comfy.until_in_history(first)
    assert outcome(entry) == "execution_interrupted"
    assert outcome(await comfy.until_in_history(second)) == "execution_success"


async def test_an_empty_interrupt_is_global(comfy: Client) -> None:
    first = await posted(comfy, graph("long_interruptible"))
    await eventually(lambda: running(comfy, first))
    await comfy.http.post("/interrupt", json={"prompt_id": None})
    assert outcome(await comfy.until_in_history(first)) == "execution_interrupted"


async def test_a_deaf_node_runs_to_its_end_before_it_is_interrupted(comfy: Client) -> None:
    prompt_id = await posted(comfy, graph("long_deaf"))
    await eventually(lambda: running(comfy, prompt_id))
    await comfy.http.post("/interrupt", json={"prompt_id": prompt_id})
    assert await running(comfy, prompt_id)
    assert outcome(await comfy.until_in_history(prompt_id)) == "execution_interrupted"


async def test_without_a_socket_the_history_is_complete(comfy: Client) -> None:
    prompt_id = await posted(comfy, graph("fast_success"))
    entry = await comfy.until_in_history(prompt_id)
    assert outcome(entry) == "execution_success"
    assert entry["outputs"]


async def test_messages_go_to_their_client_and_progress_without_one_to_all(
    comfy: Client,
) -> None:
    async with comfy.socket("a") as a, comfy.socket("b") as b:
        mine = await posted(comfy, sleeper(0.5), client_id="a")
        await a.until_end_of(mine)
        assert b.of(mine) == []
        nobody_s = await posted(comfy, sleeper(0.5))
        await comfy.until_in_history(nobody_s)
        await eventually(lambda: "progress" in b.types(nobody_s))
        assert not {"execution_start", "executing", "executed"} & set(b.types(nobody_s))


async def test_a_reconnect_in_mid_run_is_told_the_node_without_the_prompt(comfy: Client) -> None:
    async with comfy.socket("c"):
        prompt_id = await posted(comfy, sleeper(10), client_id="c")
        await eventually(lambda: running(comfy, prompt_id))
    await anyio.sleep(0.1)  # the server notices the close
    async with comfy.socket("c") as again:
        await eventually(lambda: {"type": "executing", "data": {"node": "2"}} in again.messages)
        await eventually(lambda: "progress_state" in again.types(prompt_id))


async def test_the_newer_socket_goes_deaf_when_the_older_one_closes(comfy: Client) -> None:
    async with comfy.socket("c") as old, comfy.socket("c") as new:
        await old.close()
        await eventually(lambda: old.is_closed)
        prompt_id = await posted(comfy, graph("fast_success"), client_id="c")
        await comfy.until_in_history(prompt_id)
        await new.ping()
        assert new.of(prompt_id) == []


async def test_without_a_client_id_the_server_invents_one(comfy: Client) -> None:
    async with comfy.socket("") as socket:
        data = socket.messages[0]["data"]
        assert isinstance(data, dict)
        assert len(str(data["sid"])) == 32


async def test_previews_carry_metadata_for_who_asked_for_it(comfy: Client) -> None:
    async with comfy.socket("c") as socket:
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        await socket.send(flags)
        await eventually(lambda: any(m["type"] == "feature_flags" for m in socket.messages))
        prompt_id = await posted(comfy, graph("slow_progress"), client_id="c")
        await socket.until_end_of(prompt_id)
    assert {int.from_bytes(frame[:4], "big") for frame in socket.binary} == {4}
    length = int.from_bytes(socket.binary[0][4:8], "big")
    assert json.loads(socket.binary[0][8 : 8 + length])["prompt_id"] == prompt_id


async def test_an_orphan_without_inputs_kills_the_worker_and_http_goes_on(comfy: Client) -> None:
    prompt_id = await posted(comfy, graph("trap_orphan_no_inputs"))
    await eventually(lambda: comfy.simulator.worker.is_dead)
    following = await posted(comfy, graph("fast_success"))
    queue = await comfy.get("/queue")
    assert isinstance(queue, dict)
    assert [item[1] for item in queue["queue_pending"]] == [following]
    assert await comfy.history(prompt_id) is None


async def test_a_ui_that_is_no_json_breaks_the_history_without_a_client(comfy: Client) -> None:
    prompt_id = await posted(comfy, graph("trap_bad_ui"))
    await eventually(lambda: all_ended(comfy))

    async def broken() -> bool:
        return (await comfy.http.get(f"/history/{prompt_id}")).status_code == 500

    await eventually(broken)


async def test_a_ui_that_is_no_json_ends_the_process_with_a_client(
    start_program: StartProgram, tmp_path: Path
) -> None:
    program = start_program(*("-m", "everfold.simulator", "--port", "0", "--output", str(tmp_path)))
    url = (await program.line("listening on")).split()[-1]
    address = url.replace("http", "ws", 1) + "/ws?clientId=c"
    async with httpx.AsyncClient(base_url=url) as http, connect(address):
        await http.post("/prompt", json={"prompt": graph("trap_bad_ui"), "client_id": "c"})
        assert await program.end() == 1


async def test_history_by_number_and_by_id(comfy: Client) -> None:
    ids = [await posted(comfy, sleeper(0.1)) for _ in range(4)]
    await comfy.until_in_history(ids[-1])
    newest = await comfy.get("/history?max_items=2")
    assert isinstance(newest, dict)
    assert list(newest) == ids[2:]
    oldest = await comfy.get("/api/history?max_items=2&offset=1")
    assert isinstance(oldest, dict)
    assert list(oldest) == ids[1:3]
    assert await comfy.get("/history/nobody") == {}
    assert (await comfy.http.get("/history/")).status_code == 404
    await comfy.http.post("/history", json={"delete": [ids[0]]})
    assert await comfy.history(ids[0]) is None


async def test_an_empty_restart_forgets_all_but_output_files_and_the_ledger(
    comfy: Client,
) -> None:
    upload = {"image": ("boot.txt", b"1")}
    await comfy.http.post("/upload/image", files=upload, data={"type": "temp"})
    done = await posted(comfy, graph("fast_success"))
    await comfy.until_in_history(done)
    busy = await posted(comfy, graph("long_interruptible"))
    await eventually(lambda: running(comfy, busy))
    await comfy.fault("restart_empty", seconds=0.1)

    async def is_back() -> bool:
        try:
            answer = await comfy.http.get("/prompt")
        except httpx.TransportError:
            return False
        return bool(answer.json()["exec_info"]["queue_remaining"] == 0)

    await eventually(is_back)
    assert await comfy.history(done) is None
    marker = await comfy.http.get("/view?filename=boot.txt&type=temp")
    kept = await comfy.http.get("/view?filename=fast_00001_.png")
    assert (marker.status_code, kept.status_code) == (404, 200)
    assert kept.content.startswith(b"\x89PNG")
    assert len(await ledger(comfy)) == 2
    assert (await comfy.post(graph("fast_success"))).json()["number"] == 0


async def test_a_lost_answer_is_a_queued_prompt_and_a_lost_request_is_none(
    comfy: Client,
) -> None:
    await comfy.fault("lose_post_response")
    with pytest.raises(httpx.TransportError):
        await comfy.post(graph("fast_success"), prompt_id="heard")
    await comfy.fault("lose_post_request")
    with pytest.raises(httpx.TransportError):
        await comfy.post(graph("fast_success"), prompt_id="unheard")
    await comfy.fault("refuse", status=500)
    assert (await comfy.post(graph("fast_success"))).status_code == 500
    assert [row["prompt_id"] for row in await ledger(comfy)] == ["heard"]


async def test_muted_sockets_stay_open_and_silent(comfy: Client) -> None:
    async with comfy.socket("c") as socket:
        await comfy.fault("mute_sockets")
        prompt_id = await posted(comfy, graph("fast_success"), client_id="c")
        await comfy.until_in_history(prompt_id)
        await socket.ping()
        assert socket.of(prompt_id) == []
        assert not socket.is_closed


async def test_dropped_sockets_and_a_stalled_worker(comfy: Client) -> None:
    async with comfy.socket("c") as socket:
        await comfy.fault("drop_sockets")
        await eventually(lambda: socket.is_closed)
    await comfy.fault("stall")
    prompt_id = await posted(comfy, sleeper(0.1))
    await eventually(lambda: running(comfy, prompt_id))
    await comfy.fault("clear")
    await comfy.until_in_history(prompt_id)


async def test_bad_requests_are_refused(comfy: Client) -> None:
    assert (await comfy.http.post("/prompt", content=b"{not json")).status_code == 500
    answer = await comfy.http.post("/simulator/faults", json={"fault": "nonsense"})
    assert answer.status_code == 400
