"""Reads of the projection (a first version)."""

from __future__ import annotations

from projector.evolve import fold
from projector.job import Job
from streams.log import Log
from streams.reader import job_events


async def current(log: Log, job_id: str) -> Job:
    return fold(await job_events(log, job_id))
