"""A backend whose calls raise nothing: what an adapter raises counts against that backend.

Rule: a bug of an adapter is trouble with its backend, as a broken connection is. It never ends an
actor and is never charged to a job.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TypeVar

import anyio

from everfold.runner.backend import (
    Ambiguous,
    Attempt,
    Backend,
    Load,
    Observation,
    Sighting,
    SubmitOutcome,
    Truth,
    Unreachable,
)

logger = logging.getLogger("everfold.runner")

T = TypeVar("T")


class TotalBackend:
    """Implements `everfold.runner.backend.Backend` by another one, without its exceptions."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def name(self) -> str:
        return self._backend.name

    async def boot(self) -> str | Unreachable:
        return await self._or_unreachable(self._backend.boot())

    async def server(self) -> str | Unreachable:
        return await self._or_unreachable(self._backend.server())

    async def load(self) -> Load | Unreachable:
        return await self._or_unreachable(self._backend.load())

    async def truth(self, prompt_id: str, boot: str, server: str = "") -> Truth:
        return await self._or_unreachable(self._backend.truth(prompt_id, boot, server))

    async def submit(
        self, attempt: Attempt, workflow: bytes, may_send: Callable[[], bool]
    ) -> SubmitOutcome:
        try:
            return await self._backend.submit(attempt, workflow, may_send)
        except Exception as error:
            return Ambiguous(self._note(error))

    async def cancel(self, attempt: Attempt) -> None:
        try:
            await self._backend.cancel(attempt)
        except Exception as error:
            self._note(error)

    @asynccontextmanager
    async def observe(self, attempt: Attempt, workflow: bytes) -> AsyncIterator[Observation]:
        observing = self._backend.observe(attempt, workflow)

        async def leave(
            kind: type[BaseException] | None,
            raised: BaseException | None,
            trace: TracebackType | None,
        ) -> bool | None:
            try:
                return await observing.__aexit__(kind, raised, trace)
            except Exception as error:
                if error is raised:
                    raise
                self._note(error)
                return False

        async with AsyncExitStack() as stack:
            seen: Observation | None = None
            try:
                seen = await observing.__aenter__()
                stack.push_async_exit(leave)
            except Exception as error:
                self._note(error)
            yield _TotalObservation(seen, self._note)

    async def aclose(self) -> None:
        try:
            await self._backend.aclose()
        except Exception as error:
            self._note(error)

    async def _or_unreachable(self, answer: Awaitable[T]) -> T | Unreachable:
        try:
            return await answer
        except Exception as error:
            return Unreachable(self._note(error))

    def _note(self, error: Exception) -> str:
        logger.error("backend_adapter_raised url=%s", self.name, exc_info=error)
        return f"its adapter raised {type(error).__name__}: {error}"


class _TotalObservation:
    """Sees nothing where the adapter's observation raises; the truth is asked for all the same."""

    def __init__(self, seen: Observation | None, note: Callable[[Exception], str]) -> None:
        self._seen, self._note = seen, note

    async def next(self, timeout_s: float) -> Sighting:
        if self._seen is not None:
            try:
                return await self._seen.next(timeout_s)
            except Exception as error:
                self._note(error)
                self._seen = None
        await anyio.sleep(timeout_s)
        return Sighting()

    async def reconnect(self) -> None:
        if self._seen is not None:
            try:
                await self._seen.reconnect()
            except Exception as error:
                self._note(error)
                self._seen = None
