"""A rebuilt projection of jobs takes the place of the live one, partition by partition.

Rule: one script per partition, so that a reader sees the old states or the new ones, never some
of each; and never a step back: a rebuild that is behind the live projection must catch up first.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import cast

from everfold.projector.folding.projection import Behind, Committed, NotOwner, Outcome
from everfold.streams.appending.log import Log
from everfold.streams.redis.keys import JobsKeys
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.scripts import Script

_swap_jobs = Script("everfold.projector", "swap_jobs")

SOURCES = ("evolve.py", "fold.py", "job.py", "state.py")
"""What decides which state the same events lead to, and how it is stored."""

PAGE = 500


def fold_version() -> str:
    """Return a short word that changes with the fold: a rebuild is not resumed by another one."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(files("everfold.projector.job").joinpath(name).read_bytes())
    return digest.hexdigest()[:12]


async def swap_jobs(log: Log, partition: int, token: str) -> Outcome | Behind:
    """Put the rebuilt states of a partition in place of the live ones, at once."""
    live, rebuilt = log.keys.jobs(partition), log.keys.jobs(partition, rebuilding=True)
    places = (
        *(live.projector(), live.active(), live.ended(), live.parked()),
        *(rebuilt.projector(), rebuilt.active(), rebuilt.ended(), rebuilt.parked()),
    )
    reply = await _swap_jobs.run(log.redis, places, (token, live.job(""), rebuilt.job("")))
    return read_swap(reply)


def read_swap(reply: list[object]) -> Outcome | Behind:
    name, *values = [value.decode() if isinstance(value, bytes) else value for value in reply]
    match name:
        case "swapped":
            return Committed()
        case "not_owner":
            return NotOwner(cast("str", values[0]))
        case "behind":
            return Behind(cast("str", values[0]))
    raise AssertionError(f"swap returned the unknown outcome {name!r}")


async def drop_jobs(log: Log, keys: JobsKeys) -> None:
    """Delete a rebuild's states by its own indexes, then the indexes."""
    for index in (keys.active(), keys.ended()):
        while page := cast("list[bytes]", await command(log.redis, "ZRANGE", index, 0, PAGE - 1)):
            await command(log.redis, "UNLINK", *(keys.job(name.decode()) for name in page))
            await command(log.redis, "ZREM", index, *page)
    await command(log.redis, "DEL", keys.parked(), keys.projector())
