"""How far the projection is behind the log, from its own checkpoint.

The server's own lag figure is not used: it is unknown after deletions and wrong after trims.
"""

from __future__ import annotations

from typing import cast

from msgspec import Struct

from everfold.projector.folding.jobs import JobsProjection
from everfold.projector.folding.parking import read_parked
from everfold.projector.folding.projection import AnyProjection
from everfold.streams.appending.log import Log
from everfold.streams.events.record import NO_ENTRY, entry_time_ms
from everfold.streams.reading.reader import Entries
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_time_ms

COUNT_LIMIT = 10_000
"""Events behind are counted up to here."""

PAGE = 500
"""Entries in memory at a time while they are counted."""


class Lag(Struct, frozen=True):
    partition: int
    owner: str
    checkpoint: str
    behind_events: int
    """At most 10,000."""
    behind_s: float
    """Age of the oldest event that is not folded yet."""
    folded: int
    parked: int
    oldest_parked_s: float
    """How long ago the oldest event was appended that a job is parked for."""
    rebuilt_events: int | None
    """How far a rebuild of the partition is; None while there is none."""


async def lag(log: Log, projection: AnyProjection | None = None) -> list[Lag]:
    """Return the lag of every partition of a projection, by default of that of jobs.

    Raises Unavailable.
    """
    now_ms = await server_time_ms(log.redis)
    projection = projection or JobsProjection()
    return [
        await _of(log, projection, partition, now_ms) for partition in range(log.keys.partitions)
    ]


async def _of(log: Log, projection: AnyProjection, partition: int, now_ms: int) -> Lag:
    place = projection.place(log.keys, partition)
    stored = await read_hash(log.redis, place.projector())
    rebuilding = projection.place(log.keys, partition, rebuilding=True).projector()
    rebuild = await read_hash(log.redis, rebuilding)
    owned = int(stored.get(b"until_ms", b"0")) > now_ms
    checkpoint = stored.get(b"checkpoint", NO_ENTRY.encode()).decode()
    count, first_ms = await behind(log, partition, checkpoint)
    parked = await read_parked(log, place.parked())
    oldest_ms = min((why.at_ms for why in parked.values() if why.at_ms), default=now_ms)
    return Lag(
        partition=partition,
        owner=stored.get(b"owner", b"").decode() if owned else "",
        checkpoint=checkpoint,
        behind_events=count,
        behind_s=max(0, now_ms - (first_ms or now_ms)) / 1000,
        folded=int(stored.get(b"folded", b"0")),
        parked=len(parked),
        oldest_parked_s=max(0, now_ms - oldest_ms) / 1000,
        rebuilt_events=int(rebuild.get(b"folded", b"0")) if rebuild else None,
    )


async def behind(log: Log, partition: int, after: str) -> tuple[int, int]:
    """Return how many events follow `after`, and the time of the first, 0 where there is none."""
    key = log.keys.log(partition)
    count = first_ms = 0
    while count < COUNT_LIMIT:
        ask = ("XRANGE", key, f"({after}", "+", "COUNT", PAGE)
        rows = cast("Entries", await command(log.redis, *ask))
        if rows:
            first_ms = first_ms or entry_time_ms(rows[0][0].decode())
            after = rows[-1][0].decode()
            count += len(rows)
        if len(rows) < PAGE:
            break
    return count, first_ms
