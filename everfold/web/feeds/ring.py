"""The newest items of something that goes on, for any number of readers.

Rule: an item is kept once, however many read it; a reader is a number. One that is so slow that
its next item is gone is told so, and costs the others nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

from everfold.streams.border.logger import get_logger

T = TypeVar("T")

logger = get_logger("everfold.web")

LEAST_TIDIED = 64


class Overtaken(Exception):
    """The next item of a reader is not kept any more."""


class Ring(Generic[T]):
    """Keeps the newest `most` items, of `most_bytes` together. For one event loop."""

    def __init__(
        self, most: int, most_bytes: int = 0, size_of: Callable[[T], int] = lambda _: 0
    ) -> None:
        """`size_of` tells the bytes of an item; the newest one is kept whatever it has."""
        self._items: deque[T] = deque()
        self._most, self._most_bytes, self._size_of = most, most_bytes, size_of
        self._bytes = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._takers: dict[asyncio.Future[None], Callable[[T], bool]] = {}
        self._tidy_at = LEAST_TIDIED
        self.end = 0
        """The place after the newest item: where a reader begins that wants only new ones."""
        self.is_closed = False
        """Nothing more will come."""

    def add(self, item: T) -> None:
        """Add the newest item."""
        self._items.append(item)
        self._bytes += self._size_of(item)
        while len(self._items) > self._most or self._bytes > self._most_bytes:
            if len(self._items) == 1:
                break
            self._bytes -= self._size_of(self._items.popleft())
        self.end += 1
        if self._takers:
            self._hand_out(item)
        self._wake()

    def _hand_out(self, item: T) -> None:
        for more, take in list(self._takers.items()):
            try:
                is_taken = take(item)
            except Exception:
                # What one reader does wrong holds up nobody else.
                logger.exception("reader_failed")
                is_taken = False
            if not is_taken:
                self.leave(more)

    def close(self) -> None:
        """Let readers end after the last item."""
        self.is_closed = True
        for more in list(self._takers):
            self.leave(more)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    def until_more(self, place: int) -> asyncio.Future[None]:
        """Return what is done once there are items from `place` on, or nothing more will come.

        Whoever waits no longer cancels it, or gives it its result.
        """
        more = asyncio.get_running_loop().create_future()
        if place < self.end or self.is_closed:
            more.set_result(None)
            return more
        # Those that wait no longer are dropped once they are the most of a quiet ring.
        if len(self._waiting) >= self._tidy_at:
            self._waiting = [one for one in self._waiting if not one.done()]
            self._tidy_at = 2 * len(self._waiting) + LEAST_TIDIED
        self._waiting.append(more)
        return more

    def hand_on(self, take: Callable[[T], bool]) -> asyncio.Future[None]:
        """Give each new item to `take` at once, in the call that adds it, and wake nobody.

        Returns what is done at the first item that it does not take, which says False, and once
        nothing more will come. Whoever wants no more calls `leave`.
        """
        more = asyncio.get_running_loop().create_future()
        if self.is_closed:
            more.set_result(None)
        else:
            self._takers[more] = take
        return more

    def leave(self, more: asyncio.Future[None]) -> None:
        """Give no more items to whom `hand_on` has returned this, and let it be done."""
        self._takers.pop(more, None)
        if not more.done():
            more.set_result(None)

    async def after(self, place: int) -> list[T]:
        """Wait for items from `place` on and return them; an empty list at the end of all.

        The reader's next place is `place` plus their number. Raises Overtaken.
        """
        while place == self.end:
            if self.is_closed:
                return []
            await self.until_more(place)
        return self.items_after(place)

    def items_after(self, place: int) -> list[T]:
        """Return the items from `place` on that there are. Raises Overtaken."""
        first = self.end - len(self._items)
        if place < first:
            raise Overtaken
        if place == self.end - 1:
            return [self._items[-1]]
        return list(islice(self._items, place - first, None))
