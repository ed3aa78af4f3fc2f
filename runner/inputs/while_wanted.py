"""Awaits what may take long, such as the upload of a large file, as long as a job wants it.

Rule: what is awaited is ended at once when it is wanted no more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")

WANTED_EVERY_S = 0.5
"""How often it is looked at least whether a job still wants an attempt."""


class WhileWanted(Generic[T]):
    """Awaits `work` until `no_longer` returns; `no_longer` looks at the job by itself."""

    def __init__(
        self, work: Callable[[], Awaitable[T]], no_longer: Callable[[], Awaitable[None]]
    ) -> None:
        self._work, self._no_longer = work, no_longer
        self._result: T | None = None
        self._failure: Exception | None = None

    async def run(self) -> T | None:
        """Return the result, None where it is wanted no more. Raises what either raises."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._first, self._watch, tasks.cancel_scope)
            await self._first(self._finish, tasks.cancel_scope)
        if self._failure is not None:
            # Raised inside the task group it would be wrapped in an exception group.
            raise self._failure
        return self._result

    async def _first(self, task: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
        try:
            await task()
        except Exception as error:
            self._failure = error
        scope.cancel()

    async def _finish(self) -> None:
        self._result = await self._work()

    async def _watch(self) -> None:
        await self._no_longer()
