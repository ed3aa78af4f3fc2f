"""Reading the states that are stored: one, or many in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from projector.job import Job
from projector.state import from_fields
from streams.border import read_hash, translated
from streams.log import Log


async def read_state(log: Log, job_id: str) -> Job | None:
    """Return the stored state, None where there is none or it cannot be read."""
    return from_fields(await read_hash(log.redis, log.keys.job(job_id)))


async def read_states(log: Log, job_ids: Sequence[str]) -> list[Job | None]:
    """Return the stored state of each job, in the order of `job_ids`."""
    if not job_ids:
        return []
    pipeline = log.redis.pipeline(transaction=False)
    for job_id in job_ids:
        pipeline.execute_command("HGETALL", log.keys.job(job_id))
    with translated():
        replies = cast("list[list[bytes]]", await pipeline.execute())
    return [from_fields(dict(zip(flat[::2], flat[1::2], strict=True))) for flat in replies]
