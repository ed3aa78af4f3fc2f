"""The newest items of something that goes on, for any number of readers.

Rule: an item is kept once, however many read it; a reader is a number. One that is so slow that
its next item is gone is told so, and costs the others nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class Overtaken(Exception):
    """The next item of a reader is not kept any more."""


class Ring(Generic[T]):
    """Keeps the newest `most` items. For one event loop."""

    def __init__(self, most: int) -> None:
        self._items: deque[T] = deque(maxlen=most)
        self._more: asyncio.Future[None] | None = None
        self.end = 0
        """The place after the newest item: where a reader begins that wants only new ones."""
        self.is_closed = False
        """Nothing more will come."""

    def add(self, item: T) -> None:
        """Add the newest item."""
        self._items.append(item)
        self.end += 1
        self._wake()

    def close(self) -> None:
        """Let readers end after the last item."""
        self.is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
        self._more = None

    async def after(self, place: int) -> list[T]:
        """Wait for items from `place` on and return them; an empty list at the end of all.

        The reader's next place is `place` plus their number. Raises Overtaken.
        """
        while place == self.end:
            if self.is_closed:
                return []
            if self._more is None:
                self._more = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._more)
        first = self.end - len(self._items)
        if place < first:
            raise Overtaken
        return list(islice(self._items, place - first, None))
