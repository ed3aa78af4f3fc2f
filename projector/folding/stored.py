"""Reading the states that are stored: one, or many in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from everfold.projector.job.job import Job
from everfold.projector.job.state import from_fields
from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import commands, read_hash


async def read_state(log: Log, key: str) -> Job | None:
    """Return the state stored at `key`, None where there is none or it cannot be read."""
    return from_fields(await read_hash(log.redis, key))


async def read_states(log: Log, keys: Sequence[str]) -> list[Job | None]:
    """Return the state stored at each of `keys`, in their order."""
    found = await commands(log.redis, [("HGETALL", key) for key in keys])
    replies = cast("list[list[bytes]]", found)
    return [from_fields(dict(zip(flat[::2], flat[1::2], strict=True))) for flat in replies]
