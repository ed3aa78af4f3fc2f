"""Calls a function once, at the earliest of the times that were asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class WakeUp:
    """One call that is yet to come, or none."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._handle: asyncio.Handle | None = None
        self._at_s = 0.0
        """Of the loop's clock. Not asked of the handle: uvloop's of a time within half a
        millisecond does not know it."""

    def within(self, seconds: float) -> None:
        """Call so soon, unless it is called sooner anyway."""
        loop = asyncio.get_running_loop()
        at_s = loop.time() + seconds
        if self._handle is not None:
            if self._at_s <= at_s:
                return
            self._handle.cancel()
        self._handle, self._at_s = loop.call_later(seconds, self._run), at_s

    def cancel(self) -> None:
        """Call no more until it is asked for again."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _run(self) -> None:
        self._handle = None
        self._call()
