# Whatever frames a ComfyUI sends, in any order and with lost connections between them, the
# observation goes on: it passes on what comes next, and the end of the prompt is not missed.

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import uuid4

import anyio
import pytest
from anyio.from_thread import BlockingPortal
from hypothesis import strategies as st

from everfold.runner.backend import Attempt, Observation, Sighting
from everfold.runner.comfyui import ComfyBackend
from tests.comfyui.recordings.replay_server import ReplayServer, until
from tests.fuzz.cases import fuzz
from tests.fuzz.mutations import VALUES, changed, dump

P = "d984aab4-3a3b-4f2d-af1c-10b365b79190"
CLIENT = "client-1"
ATTEMPT = Attempt(job_id="job-1", number=1, prompt_id=P, client_id=CLIENT)
WORKFLOW = b"""{"1": {"class_type": "EmptyImage", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}"""

STATE = {"value": 1, "max": 2, "state": "running", "node_id": "1", "prompt_id": P}
MESSAGES: dict[str, dict[str, object]] = {
    "status": {"status": {"exec_info": {"queue_remaining": 1}}},
    "execution_start": {"timestamp": 1},
    "execution_cached": {"nodes": ["1"]},
    "executing": {"node": "1", "display_node": "1"},
    "progress": {"value": 1, "max": 20, "node": "1"},
    "progress_state": {"nodes": {"1": STATE}},
    "executed": {"node": "2", "output": {"images": [{"filename": "a.png"}]}},
    "execution_success": {"timestamp": 1},
    "execution_error": {"node_id": "1", "exception_type": "E", "exception_message": "m"},
    "execution_interrupted": {"node_id": "1"},
}
DROP = b"drop"
TEXTS = changed(
    [{"type": kind, "data": {"prompt_id": P, **data}} for kind, data in MESSAGES.items()], VALUES
).map(lambda message: dump(message).decode(errors="replace"))
KINDS = st.sampled_from(
    (b"\0\0\0\1\0\0\0\1", b"\0\0\0\3\0\0\0\1", b"\0\0\0\4\0\0\0\2{}", b"\0\0\0")
)
FRAMES: st.SearchStrategy[str | bytes] = st.one_of(
    TEXTS, TEXTS, TEXTS, st.text(max_size=20), st.binary(max_size=20),
    st.builds(lambda kind, rest: kind + rest, KINDS, st.binary(max_size=20)),
    st.sampled_from((DROP, "[" * 5000, '{"type":' * 3000, "9" * 5000, "")),
)  # fmt: skip


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[ReplayServer, ComfyBackend]]:
    server = ReplayServer()
    await server.start()
    backend = ComfyBackend(server.url)
    yield server, backend
    await backend.aclose()
    await server.stop()


@pytest.fixture(scope="module")
def served(portal: BlockingPortal) -> Iterator[tuple[ReplayServer, ComfyBackend]]:
    with portal.wrap_async_context_manager(serving()) as made:
        yield made


@fuzz(frames=st.lists(FRAMES, min_size=1, max_size=8))
def test_no_frames_end_an_observation_or_hide_the_end(
    portal: BlockingPortal, served: tuple[ReplayServer, ComfyBackend], frames: list[str | bytes]
) -> None:
    portal.call(observe, *served, frames)


async def observe(server: ReplayServer, backend: ComfyBackend, frames: list[str | bytes]) -> None:
    async with backend.observe(ATTEMPT, WORKFLOW) as observation:
        for frame in frames:
            await until(lambda: len(server.sockets[CLIENT]) == 1, "it is connected")
            if frame == DROP:
                server.drop(CLIENT)
                await until(lambda: not server.sockets[CLIENT], "the socket is closed")
            else:
                with contextlib.suppress(ConnectionError):
                    await server.send(CLIENT, frame)
        await until(lambda: len(server.sockets[CLIENT]) == 1, "it is connected")
        mark = uuid4().hex
        await server.send(CLIENT, message("executed", node="2", output={"mark": mark}))
        await seen(observation, lambda one: any(mark in str(each.output) for each in one.saved))
        await observation.next(0.0)
        await server.send(CLIENT, message("executing", node=None))
        await seen(observation, lambda one: one.ask_truth)


def message(kind: str, **data: object) -> str:
    return json.dumps({"type": kind, "data": {"prompt_id": P, **data}})


async def seen(observation: Observation, is_it: Callable[[Sighting], bool]) -> None:
    with anyio.fail_after(20):
        while not is_it(await observation.next(1.0)):
            pass
