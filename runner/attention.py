"""Somebody wants a job looked at again: a cancel request, a lost lease, a word of its owner."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

import anyio

T = TypeVar("T")


class Attention:
    """Set from anywhere in the event loop; cleared by the job's run when it has looked."""

    def __init__(self) -> None:
        self._called = anyio.Event()

    @property
    def wanted(self) -> bool:
        return self._called.is_set()

    def call(self) -> None:
        self._called.set()

    def clear(self) -> None:
        if self._called.is_set():
            self._called = anyio.Event()

    async def wait(self, at_most_s: float) -> None:
        with anyio.move_on_after(at_most_s):
            await self._called.wait()

    async def unless_wanted(self, waiting: Coroutine[object, object, T]) -> T | None:
        """Await `waiting`, but give it up, and return None, once attention is wanted."""
        result: T | None = None
        async with anyio.create_task_group() as tasks:

            async def give_up() -> None:
                await self._called.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(give_up)
            result = await waiting
            tasks.cancel_scope.cancel()
        return result
