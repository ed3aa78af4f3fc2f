"""Reads jobs from the hashes that the projection stores, one or many.

Rule: of many, the large fields are measured first, so that answers never pile up on the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import cast

from everfold.projector.job.job import Job
from everfold.projector.job.state import from_fields
from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import commands, read_hash
from everfold.streams.redis.script import Script

_measure_hashes = Script("everfold.projector", "measure_hashes", is_read_only=True)

LARGE_FIELDS = (
    *("metadata", "outputs", "problems", "error", "reason", "refused_by", "policy"),
    *("tags", "needs"),
)
"""Fields of a state without a small limit."""

OTHERS_BYTES = 4096
"""What the other fields of a state have together at most, but for long names."""


async def read_stored_job(log: Log, key: str) -> Job | None:
    """Return the job stored at `key`; None where there is none or it cannot be read.

    Raises Unavailable.
    """
    return from_fields(await read_hash(log.redis, key))


async def read_stored_jobs(log: Log, keys: Sequence[str]) -> list[Job | None]:
    """Return for each key, in order, what `read_stored_job` returns for it. Raises Unavailable."""
    sizes = await _sizes(log, keys)
    asked = [("HGETALL", key) for key in keys]
    found = await commands(log.redis, asked, [sizes[key] for key in keys])
    replies = cast("list[list[bytes]]", found)
    return [from_fields(dict(zip(flat[::2], flat[1::2], strict=True))) for flat in replies]


async def _sizes(log: Log, keys: Sequence[str]) -> dict[str, int]:
    """Return for each key about how many bytes its hash has."""
    sizes: dict[str, int] = {}
    for _, group in groupby(sorted(keys), key=lambda key: key.partition("}")[0]):
        of_partition = list(group)
        reply = await _measure_hashes.run(log.redis, of_partition, LARGE_FIELDS)
        found = cast("list[int]", reply[1:])
        sizes |= {key: OTHERS_BYTES + size for key, size in zip(of_partition, found, strict=True)}
    return sizes
