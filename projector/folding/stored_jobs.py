"""Reads jobs from the hashes that the projection stores, one or many in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from everfold.projector.job.job import Job
from everfold.projector.job.state import from_fields
from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import commands, read_hash


async def read_stored_job(log: Log, key: str) -> Job | None:
    """Return the job stored at `key`; None where there is none or it cannot be read.

    Raises Unavailable.
    """
    return from_fields(await read_hash(log.redis, key))


async def read_stored_jobs(log: Log, keys: Sequence[str]) -> list[Job | None]:
    """Return for each key, in order, what `read_stored_job` returns for it. Raises Unavailable."""
    found = await commands(log.redis, [("HGETALL", key) for key in keys])
    replies = cast("list[list[bytes]]", found)
    return [from_fields(dict(zip(flat[::2], flat[1::2], strict=True))) for flat in replies]
