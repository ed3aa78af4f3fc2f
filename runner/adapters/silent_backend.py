"""A backend that is never asked: a job names it, and this runner has no reason to trust the name.

Rule: a log may have been imported from a file that anybody wrote. An address that only a job names
is not contacted, or the file would decide which machines the runner talks to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from everfold.runner.backend import (
    Attempt,
    InputBytes,
    InputFile,
    Load,
    Observation,
    OutputAnswer,
    OutputFile,
    PlaceOutcome,
    Sighting,
    SubmitOutcome,
    Truth,
    Unreachable,
    Withheld,
)

NOT_CONFIGURED = "no runner was configured with this address, so it is not contacted"


class SilentBackend:
    """Implements `everfold.runner.backend.Backend`: unreachable, for the reason `why`."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._unreachable = Unreachable(why)

    async def boot(self) -> str | Unreachable:
        return self._unreachable

    async def server(self) -> str | Unreachable:
        return self._unreachable

    async def capabilities(self) -> Unreachable:
        return self._unreachable

    async def load(self) -> Load | Unreachable:
        return self._unreachable

    async def truth(self, prompt_id: str, boot: str, server: str = "") -> Truth:
        return self._unreachable

    async def submit(
        self, attempt: Attempt, workflow: bytes, may_send: Callable[[], bool]
    ) -> SubmitOutcome:
        return Withheld(self._unreachable.why)

    async def place_input(self, file: InputFile, content: InputBytes) -> PlaceOutcome:
        return self._unreachable

    async def has_input(self, file: InputFile, name: str) -> bool:
        return False

    async def cancel(self, attempt: Attempt) -> None: ...

    @asynccontextmanager
    async def open_output(
        self, file: OutputFile, boot: str, server: str = ""
    ) -> AsyncIterator[OutputAnswer]:
        yield self._unreachable

    @asynccontextmanager
    async def observe(self, attempt: Attempt, workflow: bytes) -> AsyncIterator[Observation]:
        yield _Silence()

    async def aclose(self) -> None: ...


class _Silence:
    async def next(self, timeout_s: float) -> Sighting:
        await anyio.sleep(timeout_s)
        return Sighting()

    async def reconnect(self) -> None: ...

    def pass_on(self, is_wanted: bool) -> None: ...
