"""Wake-up flag of one job run: set on a cancel request or a lost lease, cleared when read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

import anyio

from everfold.runner.inputs.while_wanted import WANTED_EVERY_S
from everfold.streams.errors import OUTAGES

T = TypeVar("T")


class Wakeup:
    """May be set from anywhere in the runner's event loop; only the job run waits and clears."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._waiting: anyio.CancelScope | None = None

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Set the flag and interrupt the wait that is going on, if any."""
        self._event.set()
        if self._waiting is not None:
            self._waiting.cancel()

    def clear(self) -> None:
        if self._event.is_set():
            self._event = asyncio.Event()

    async def wait(self, at_most_s: float) -> None:
        """Wait until the flag is set, at most `at_most_s` seconds; leaves it set."""
        with anyio.move_on_after(at_most_s):
            await self._event.wait()

    async def until(self, is_so: Callable[[], bool], look: Callable[[], Awaitable[None]]) -> None:
        """Wait until something is so; `look` when the flag is set, and every WANTED_EVERY_S."""
        while not is_so():
            await self.wait(WANTED_EVERY_S)
            with suppress(*OUTAGES):
                await look()

    async def unless_set(self, waiting: Coroutine[object, object, T]) -> T | None:
        """Await `waiting`; cancel it and return None as soon as the flag is set.

        At most one call at a time. `waiting` is closed unstarted when the flag is set already.
        """
        if self.is_set:
            waiting.close()
            return None
        try:
            with anyio.CancelScope() as self._waiting:
                return await waiting
        finally:
            self._waiting = None
        return None
