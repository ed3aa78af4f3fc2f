"""Lists jobs by the time of their submit, the newest first.

Rule: a job has one place in the list, whatever happens to it while pages are read: it is listed
once, and none is left out. The index is by the last event, which is never before the submit: so it
is read from its newest end until no unread job can be newer than the next one of the list.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import cast

from msgspec import Struct

from everfold.client import Everfold
from everfold.projector.job.job import Job
from everfold.projector.job.job_filter import JobFilter, check_filter
from everfold.projector.reading.lag import checkpoints
from everfold.projector.reading.positions import Position, Positions
from everfold.projector.reading.queries import jobs_at
from everfold.projector.reading.selected import is_selected
from everfold.streams.redis.redis_errors import commands

FIRST_LOOK, LATER_LOOKS = 100, 1000
"""Entries of the index that are read at once."""
LOOK_LIMIT = 2_000
"""Jobs that are compared with the filter for one page; then it ends, with a cursor."""
TIMES_KEPT = 100_000
"""Jobs whose submit time is remembered: it never changes."""

_CURSOR = re.compile(r"([0-9]{1,16}):(.{1,200})", re.DOTALL)


class JobsPage(Struct, frozen=True):
    """Some jobs, the one that was submitted last first."""

    jobs: list[Job]
    cursor: str | None
    """Ask with it for the next page; None when this is the last one."""


class Listing:
    """The lists of one gateway."""

    def __init__(self, everfold: Everfold) -> None:
        self._everfold, self._log = everfold, everfold.log
        self._times: OrderedDict[str, int] = OrderedDict()

    async def page(self, selects: JobFilter, cursor: Position | None, limit: int) -> JobsPage:
        """Return the jobs after a cursor, at most `limit`, and fewer where most do not fit.

        Jobs that this gateway has submitted are in it; others may be missing as long as no
        projector has folded them. Raises InvalidName, and a leaf of Unavailable.
        """
        selects = check_filter(selects)
        newer = await self._everfold._shown_after(await checkpoints(self._log))
        found, looked = list[Job](), 0
        async for places in self._in_order(selects, cursor, newer):
            for start in range(0, len(places), limit):
                some = places[start : start + limit]
                jobs = await jobs_at(self._log, some, newer, set())
                for place, job in zip(some, jobs, strict=True):
                    looked += 1
                    if job is not None and await is_selected(self._log, selects, job):
                        found.append(await self._log.opened(job, job.job_id))
                    if len(found) == limit or looked == LOOK_LIMIT:
                        return JobsPage(found, f"{place.time_ms}:{place.job_id}")
        return JobsPage(found, None)

    async def _in_order(
        self, selects: JobFilter, cursor: Position | None, newer: dict[str, Job]
    ) -> AsyncIterator[Sequence[Position]]:
        """Yield submit times and ids of jobs that may fit, in the order of the list."""
        positions = Positions(self._log, selects, newer, set())
        waiting: list[Position] = []
        before: Position | None = None
        size = FIRST_LOOK
        while True:
            following = await positions.after(before, size)
            submitted = await self._submitted(following.positions, newer)
            waiting += [one for one in submitted if cursor is None or one < cursor]
            waiting.sort(reverse=True)
            before, size = max(following.stops, default=None), LATER_LOOKS
            if before is None:
                yield waiting
                return
            sure = [one for one in waiting if one.time_ms > before.time_ms]
            del waiting[: len(sure)]
            if sure:
                yield sure

    async def _submitted(
        self, positions: Sequence[Position], newer: dict[str, Job]
    ) -> list[Position]:
        """Return when each job was submitted; those that are gone are left out."""
        unknown = [one for one in positions if one.job_id not in self._times]
        asked = [("HGET", self._log.keys.job(one.job_id), "submitted_at_ms") for one in unknown]
        times = cast("list[bytes | None]", await commands(self._log.redis, asked))
        for one, text in zip(unknown, times, strict=True):
            if text and text.isdigit():
                self._times[one.job_id] = int(text)
        lost = [one for one in unknown if one.job_id not in self._times]
        for job in await jobs_at(self._log, lost, newer, set()) if lost else ():
            if job is not None and job.submitted_at_ms:
                self._times[job.job_id] = job.submitted_at_ms
        found = [
            Position(self._times[one.job_id], one.job_id)
            for one in positions
            if one.job_id in self._times
        ]
        while len(self._times) > TIMES_KEPT:
            self._times.popitem(last=False)
        return found


def cursor_of(text: str) -> Position | None:
    """Return the place that a cursor names; None for a text that is no cursor."""
    match = _CURSOR.fullmatch(text)
    return Position(int(match[1]), match[2]) if match else None
