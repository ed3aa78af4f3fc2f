"""Wake-up flag of one job run: set on a cancel request or a lost lease, cleared when read."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

import anyio

T = TypeVar("T")


class Wakeup:
    """Set from anywhere in the event loop; cleared by the job's run when it has looked."""

    def __init__(self) -> None:
        self._called = anyio.Event()
        self._looking: anyio.CancelScope | None = None

    @property
    def is_set(self) -> bool:
        return self._called.is_set()

    def set(self) -> None:
        self._called.set()
        if self._looking is not None:
            self._looking.cancel()

    def clear(self) -> None:
        if self._called.is_set():
            self._called = anyio.Event()

    async def wait(self, at_most_s: float) -> None:
        with anyio.move_on_after(at_most_s):
            await self._called.wait()

    async def unless_set(self, waiting: Coroutine[object, object, T]) -> T | None:
        """Await `waiting`, but give it up, and return None, once the flag is wanted.

        One at a time: it is the job's run that looks.
        """
        if self.is_set:
            waiting.close()
            return None
        try:
            with anyio.CancelScope() as self._looking:
                return await waiting
        finally:
            self._looking = None
        return None
