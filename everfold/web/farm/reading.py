"""Reads jobs so that they are at least as new as what the log said of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from everfold.client import Everfold
from everfold.projector.folding.stored_jobs import read_stored_jobs
from everfold.projector.job.job import OPEN_STATUSES, Job
from everfold.projector.job.job_filter import JobFilter
from everfold.projector.reading.queries import get
from everfold.streams.appending.log import Log
from everfold.streams.errors import CorruptLog, JobUnknown
from everfold.streams.redis.redis_errors import commands
from everfold.web.comfyui.jobs.open_jobs import open_jobs

AT_ONCE = 500
"""Jobs of one trip to Redis."""
FOLDED_AT_ONCE = 16
"""Jobs that the projection does not have as new, and that are folded from the log side by side."""

HELD_READ = 1_000
"""Jobs that run, and as many that wait, of which a fold learns when it begins."""


async def jobs_at_least(log: Log, wanted: Mapping[str, int]) -> list[Job]:
    """Return jobs after an event of each, or later; those that cannot be read are left out.

    Raises a leaf of Unavailable.
    """
    found, job_ids = list[Job](), list(wanted)
    turn = asyncio.Semaphore(FOLDED_AT_ONCE)
    for first in range(0, len(job_ids), AT_ONCE):
        some = job_ids[first : first + AT_ONCE]
        stored = await read_stored_jobs(log, some)
        behind = list[str]()
        for job_id, job in zip(some, stored, strict=True):
            if job is None or job.seq < wanted[job_id]:
                behind.append(job_id)
            else:
                found.append(job)
        folded = await asyncio.gather(*(_folded(log, one, wanted[one], turn) for one in behind))
        found += [job for job in folded if job is not None]
    return [await log.opened(job, job.job_id) for job in found]


async def _folded(log: Log, job_id: str, seq: int, turn: asyncio.Semaphore) -> Job | None:
    async with turn:
        try:
            return await get(log, job_id, seq)
        except (CorruptLog, JobUnknown):
            return None


async def last_seqs(log: Log, job_ids: Sequence[str]) -> dict[str, int]:
    """Return the number of each job's last event, 0 for a job that there is no more.

    Raises a leaf of Unavailable.
    """
    found = dict[str, int]()
    for first in range(0, len(job_ids), AT_ONCE):
        some = job_ids[first : first + AT_ONCE]
        asked = [("HGET", log.keys.head(job_id), "seq") for job_id in some]
        seqs = cast("list[bytes | None]", await commands(log.redis, asked))
        for job_id, seq in zip(some, seqs, strict=True):
            found[job_id] = int(seq) if seq and seq.isdigit() else 0
    return found


async def newest(log: Log, jobs: Sequence[Job]) -> list[Job]:
    """Return these jobs as the log has them now; those that there are no more are left out."""
    seqs = await last_seqs(log, [job.job_id for job in jobs])
    behind = {one.job_id: seqs[one.job_id] for one in jobs if seqs[one.job_id] > one.seq}
    later = {job.job_id: job for job in await jobs_at_least(log, behind)}
    return [later.get(job.job_id, job) for job in jobs if seqs[job.job_id]]


async def held_jobs(everfold: Everfold) -> list[Job]:
    """Return the jobs that runners hold, of the newest of those that run and of those that do not.

    Raises a leaf of Unavailable.
    """
    found = await open_jobs(everfold, None, HELD_READ)
    return [job for job in await newest(everfold.log, found) if job.owner]


async def open_jobs_of(everfold: Everfold, user: str) -> tuple[list[Job], bool]:
    """Return open jobs of a user, and whether there are more. Raises a leaf of Unavailable."""
    selects = JobFilter(user=user, statuses=OPEN_STATUSES)
    found = (await everfold.page(selects, None, HELD_READ)).jobs
    return await newest(everfold.log, found), len(found) >= HELD_READ
