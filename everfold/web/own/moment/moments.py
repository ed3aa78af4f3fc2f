"""Folds log and archive to a moment, and keeps check points, so that the next look near is fast.

Rule: one fold at a time, for FOLD_WITHIN_S; what was reached by then is kept, and the next call
goes on from there. Check points hold KEPT_JOBS jobs together at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from msgspec import Struct

from everfold.archives.kept_archive import KeptArchive
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import Trimmed
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_order, entry_time_ms
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.redis.pages import PAGE
from everfold.streams.retention.history import history_pages
from everfold.web.own.moment.moment_fold import MomentFold

FOLD_WITHIN_S = 15.0
KEPT_JOBS = 1_000_000
"""A check point takes about 100 bytes a job, and shares the jobs with the others."""
KEPT_POINTS = 64
STEPS = 32
"""A long way is folded in so many steps; after each there is a check point."""
LEAST_STEP_MS = 1_000


class Point(Struct, frozen=True):
    """The farm at a moment."""

    time_ms: int
    fold: MomentFold
    positions: dict[int, str]
    """Partition -> entry id up to which it is folded."""
    known_from_ms: int
    """What happened before may be in no log or archive any more; 0 where all is known."""


class Moments:
    """The past of one namespace."""

    def __init__(self, log: Log, archive: KeptArchive) -> None:
        self._log, self._archive = log, archive
        self._points: list[Point] = []
        """Sorted by time."""
        self._one = asyncio.Lock()

    async def at(self, time_ms: int) -> Point:
        """Return the farm at a moment, or at an earlier one where the time did not suffice.

        Raises ArchiveDamaged, a leaf of Unavailable.
        """
        async with self._one:
            point = self._before(time_ms) or await self._beginning()
            if point.time_ms == time_ms:
                return point
            return await self._folded(point, time_ms)

    def _before(self, time_ms: int) -> Point | None:
        found = [point for point in self._points if point.time_ms <= time_ms]
        return found[-1] if found else None

    async def _beginning(self) -> Point:
        """Return the farm before all that is known."""
        archive = await self._archive.get()
        positions, known_from_ms = dict[int, str](), 0
        for partition in range(self._log.keys.partitions):
            gone = (await trimmed_to(self._log, partition)).entry_id
            links = await archive.links(partition) if archive is not None else []
            positions[partition] = NO_ENTRY if links else gone
            first = links[0].manifest.first if links else gone
            known_from_ms = max(known_from_ms, entry_time_ms(first))
        return Point(0, MomentFold(), positions, known_from_ms)

    async def _folded(self, begin: Point, time_ms: int) -> Point:
        deadline_s = time.monotonic() + FOLD_WITHIN_S
        fold, archive = begin.fold.copy(), await self._archive.get()
        readers = [_Reader(self._log, archive, p, at) for p, at in begin.positions.items()]
        point = begin
        for until_ms in await self._steps(begin, readers, time_ms):
            for reader in readers:
                await reader.fold(fold, until_ms)
                await asyncio.sleep(0)
            known_from_ms = max(begin.known_from_ms, *(one.known_from_ms for one in readers))
            positions = {one.partition: one.position for one in readers}
            is_last = until_ms >= time_ms
            kept = fold if is_last else fold.copy()
            point = Point(until_ms, kept, positions, known_from_ms)
            self._keep(point)
            if time.monotonic() > deadline_s:
                break
        return point

    async def _steps(self, begin: Point, readers: list[_Reader], time_ms: int) -> list[int]:
        """Return the moments at which there are to be check points, the wanted one last."""
        firsts = [first for one in readers if (first := await one.next_ms()) is not None]
        since_ms = max(begin.time_ms, min(firsts, default=time_ms))
        step_ms = max(LEAST_STEP_MS, (time_ms - since_ms) // STEPS)
        return [*range(since_ms + step_ms, time_ms, step_ms), time_ms]

    def _keep(self, point: Point) -> None:
        self._points = [one for one in self._points if one.time_ms != point.time_ms]
        self._points.append(point)
        self._points.sort(key=lambda one: one.time_ms)
        while len(self._points) > 1 and (
            len(self._points) > KEPT_POINTS
            or sum(len(one.fold.jobs) for one in self._points) > KEPT_JOBS
        ):
            self._thin_out(point)

    def _thin_out(self, newest: Point) -> None:
        """Let the check point go whose neighbours are nearest to each other."""
        gaps = [
            (self._points[at + 1].time_ms - self._points[at - 1].time_ms, at)
            for at in range(1, len(self._points) - 1)
            if self._points[at] is not newest
        ]
        at = min(gaps)[1] if gaps else 0 if self._points[0] is not newest else 1
        del self._points[at]


class _Reader:
    """Reads one partition on and on."""

    def __init__(self, log: Log, archive: Archive | None, partition: int, after: str) -> None:
        self._log, self._archive = log, archive
        self.partition, self.position, self.known_from_ms = partition, after, 0
        self._page: list[Recorded] = []
        self._at = 0
        self._pages: AsyncIterator[list[Recorded]] | None = None

    async def next_ms(self) -> int | None:
        """Return the time of the next event, None where there is none."""
        return self._page[self._at].time_ms if await self._has_more() else None

    async def fold(self, fold: MomentFold, until_ms: int) -> None:
        """Fold all events up to a moment, with it."""
        while await self._has_more():
            page = self._page
            while self._at < len(page) and page[self._at].time_ms <= until_ms:
                fold.note(page[self._at])
                self.position = page[self._at].entry_id
                self._at += 1
            if self._at < len(page):
                return
            await asyncio.sleep(0)

    async def _has_more(self) -> bool:
        while self._at == len(self._page):
            if self._pages is None:
                self._pages = history_pages(
                    self._log, self.partition, self.position, self._archive, size=PAGE
                )
            try:
                page = await anext(self._pages, None)
            except Trimmed:
                await self._skip()
                continue
            if page is None:
                self._pages = None
                return False
            self._page, self._at = page, 0
        return True

    async def _skip(self) -> None:
        """Go on behind what is in neither place."""
        gone = (await trimmed_to(self._log, self.partition)).entry_id
        if entry_order(gone) > entry_order(self.position):
            self.position, self.known_from_ms = gone, entry_time_ms(gone)
        self._pages, self._page, self._at = None, [], 0
