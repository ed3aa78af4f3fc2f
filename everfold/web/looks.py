"""Looks at one job: its state, and how many jobs stand before it. One trip to Redis in most cases.

Rule: a look is never older than the log. A state that is behind it, as while no projector runs, is
folded on; one that cannot be is shown as it was last known.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.projector.job.state import from_fields
from everfold.projector.reading.queries import get
from everfold.streams.appending.log import Log
from everfold.streams.errors import CorruptLog, InvalidName, JobUnknown
from everfold.streams.events.checks import check_job
from everfold.streams.queues.waiting_jobs import (
    WAITING_FIELDS,
    Waiting,
    count_commands,
    jobs_before,
    waiting_of,
)
from everfold.streams.redis.redis_errors import commands

PLACES_KEPT = 10_000
"""Waiting jobs whose place is remembered, so that the next look can count at once."""


class Look(Struct, frozen=True):
    """A job, as it is at one moment."""

    job: Job
    position: int | None
    """How many jobs of its queue stand before it; None for one that does not wait for a runner."""


class Looks:
    """The looks of one gateway, which remembers where waiting jobs stand to count at once."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._places: OrderedDict[str, Waiting] = OrderedDict()

    async def look(self, job_id: str) -> Look:
        """Return a job as it is now. Raises JobUnknown, a leaf of Unavailable, or a kind of
        CorruptLog for a job of which no state is known either."""
        try:
            keys, head = self._log.keys, self._log.keys.head(check_job(job_id))
        except InvalidName as error:
            raise JobUnknown(job_id) from error
        remembered = self._places.get(job_id)
        asked = [
            ("HGETALL", keys.job(job_id)),
            ("HGET", keys.projector(keys.partition_of(job_id)), "moving"),
            ("HMGET", head, "seq", *WAITING_FIELDS),
        ]
        counts = count_commands(keys, remembered) if remembered else []
        stored, moving, found, *answers = await commands(self._log.redis, [*asked, *counts])
        seq, *fields = cast("list[bytes | None]", found)
        waiting = waiting_of(fields)
        state = [] if moving else cast("list[bytes]", stored)  # it may be elsewhere: `get` knows
        job = await self._caught_up(job_id, state, _number(seq))
        return Look(job, await self._position(job_id, waiting, remembered, answers))

    async def _caught_up(self, job_id: str, state: list[bytes], head_seq: int) -> Job:
        job = from_fields(dict(zip(state[::2], state[1::2], strict=True)))
        if job is None or job.seq < head_seq:
            try:
                job = await get(self._log, job_id, head_seq)
            except CorruptLog:
                if job is None:
                    raise
        return await self._log.opened(job, job_id)

    async def _position(
        self,
        job_id: str,
        waiting: Waiting | None,
        remembered: Waiting | None,
        answers: Sequence[object],
    ) -> int | None:
        if waiting is None:
            self._places.pop(job_id, None)
            return None
        if waiting != remembered:
            answers = await commands(self._log.redis, count_commands(self._log.keys, waiting))
        self._places[job_id] = waiting
        self._places.move_to_end(job_id)
        if len(self._places) > PLACES_KEPT:
            self._places.popitem(last=False)
        return jobs_before(answers, job_id)


def _number(text: bytes | None) -> int:
    with contextlib.suppress(ValueError):
        return int(text or b"0")
    return 0
