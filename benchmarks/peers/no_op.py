"""A backend in the runner's own process that does nothing: it notes the job and calls it done.

It holds to runner/backend.py: an attempt is accepted, seen to start, and ended in its history.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import msgspec

from benchmarks.peers import begin_log
from everfold.runner.backend import (
    Absent,
    Accepted,
    Attempt,
    Ended,
    InputBytes,
    InputFile,
    Load,
    NotPlaced,
    Observation,
    OutputAnswer,
    OutputFile,
    OutputGone,
    PlaceOutcome,
    Running,
    Sighting,
    SubmitOutcome,
    Truth,
)

_ENDED = Ended(
    succeeded=True,
    interrupted=False,
    outputs={},
    outputs_reused=False,
    failure=None,
    started_at_ms=None,
    ended_at_ms=None,
)


def graph(job: str, sent_ns: int) -> dict[str, object]:
    """Return a workflow of one node; each job has its own inputs, as each picture has its seed."""
    return {"1": {"class_type": "NoOp", "inputs": {"sent_ns": sent_ns}, "_meta": {"title": job}}}


class _Seen:
    """What the websocket would say: it has started, and it is over."""

    def __init__(self) -> None:
        self._told = False

    async def next(self, timeout_s: float) -> Sighting:
        if self._told:
            await anyio.sleep(timeout_s)
            return Sighting()
        self._told = True
        return Sighting(started=True, ask_truth=True)

    async def reconnect(self) -> None:
        return

    def pass_on(self, is_wanted: bool) -> None:
        return


@asynccontextmanager
async def _observed() -> AsyncIterator[Observation]:
    yield _Seen()


class NoOpBackend:
    """Knows the prompts that were submitted to this object, and loses them with it."""

    name = "http://no-op"

    def __init__(self) -> None:
        self._boot = secrets.token_hex(4)
        self._truths: dict[str, Truth] = {}

    async def boot(self) -> str:
        return self._boot

    async def server(self) -> str:
        return ""

    async def capabilities(self) -> None: ...

    async def load(self) -> Load:
        return Load(running=0, pending=0)

    async def submit(
        self, attempt: Attempt, workflow: bytes, may_send: Callable[[], bool]
    ) -> SubmitOutcome:
        node = msgspec.json.decode(workflow, type=dict[str, _Node])["1"]
        may_send()
        begin_log.note(node.inputs["sent_ns"])
        self._truths[attempt.prompt_id] = Running() if node.class_type == "hold" else _ENDED
        return Accepted(None, [])

    def observe(
        self, attempt: Attempt, workflow: bytes
    ) -> AbstractAsyncContextManager[Observation]:
        return _observed()

    async def place_input(self, file: InputFile, content: InputBytes) -> PlaceOutcome:
        return NotPlaced("it takes no files")

    async def has_input(self, file: InputFile, name: str) -> bool:
        return False

    async def cancel(self, attempt: Attempt) -> None:
        self._truths.pop(attempt.prompt_id, None)

    async def truth(self, prompt_id: str, boot: str, server: str = "") -> Truth:
        return self._truths.get(prompt_id) or Absent(same_boot=boot == self._boot)

    @asynccontextmanager
    async def open_output(
        self, file: OutputFile, boot: str, server: str = ""
    ) -> AsyncIterator[OutputAnswer]:
        yield OutputGone()

    async def aclose(self) -> None:
        return


class _Node(msgspec.Struct):
    class_type: str
    inputs: dict[str, int]
