"""The lag of a projection: how far its checkpoint is behind the end of the log.

The server's own lag figure is not used: it is unknown after deletions and wrong after trims.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import asdict

from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.parking import read_parked
from everfold.projector.folding.projection import AnyProjection
from everfold.streams.appending.log import Log
from everfold.streams.events.record import NO_ENTRY, entry_time_ms
from everfold.streams.events.stored_fields import stored_entry_id, stored_number
from everfold.streams.redis.each import GRACE_S, each
from everfold.streams.redis.pages import count_all_entries, count_entries
from everfold.streams.redis.redis_errors import read_hash
from everfold.streams.redis.server import server_time_ms

COUNT_LIMIT = 10_000
"""Events are counted up to this number."""


class Checkpoint(Struct, frozen=True):
    """Up to where one partition of the projection of jobs is folded."""

    entry_id: str
    """Every event up to it is folded, or its job is parked."""
    behind_s: float
    """Age of the oldest event after it in seconds, 0 when there is none."""


class PartitionLag(Struct, frozen=True, kw_only=True):
    """How far one partition of a projection or subscription is behind the end of the log."""

    partition: int
    owner: str
    """Token of the process that has the partition's lease, empty while nobody has it."""
    checkpoint: str
    """Entry id up to which every entry was taken."""
    lag_events: int = field(name="behind_events")
    """Events after the checkpoint; at most COUNT_LIMIT."""
    lag_s: float = field(name="behind_s")
    """Age of the oldest of them in seconds, 0 when there is none."""


class Lag(PartitionLag, frozen=True, kw_only=True):
    """The lag of one partition of a projection."""

    folded: int
    """Events folded since the projection was made or rebuilt."""
    parked: int
    """Jobs that are parked."""
    oldest_parked_s: float
    """Age of the oldest event that a job is parked at, in seconds; 0 when no job is parked."""
    rebuilt_events: int | None
    """Events that a rebuild of the partition has folded; None while there is no rebuild."""


async def checkpoints(log: Log, missing: set[int] | None = None) -> dict[int, Checkpoint]:
    """Return the checkpoint of each partition, in order.

    Partitions that do not answer are added to `missing`; without it that raises Unavailable.
    """

    async def read(partition: int) -> Checkpoint:
        key = log.keys.projector(partition)
        at = stored_entry_id(await read_hash(log.redis, key), b"checkpoint") or NO_ENTRY
        after = await count_entries(log.redis, log.keys.log(partition), f"({at}", most=1)
        behind_s = age_s(now_ms, entry_time_ms(after.first)) if after.count else 0.0
        return Checkpoint(at, max(behind_s, 0.001) if after.count else 0.0)

    now_ms = await server_time_ms(log.redis)
    outcomes = await each(log, read, grace_s=None if missing is None else GRACE_S)
    outcomes.some(missing)
    return outcomes.values


async def lag(
    log: Log, projection: AnyProjection | None = None, missing: set[int] | None = None
) -> list[Lag]:
    """Return the lag of each partition of a projection (default: that of jobs), in order.

    Partitions that do not answer are added to `missing`; without it that raises Unavailable.
    """
    now_ms = await server_time_ms(log.redis)
    known = projection or JobsProjection()
    grace_s = None if missing is None else GRACE_S
    return (await each(log, lambda p: _lag(log, known, p, now_ms), grace_s=grace_s)).some(missing)


async def _lag(log: Log, projection: AnyProjection, partition: int, now_ms: int) -> Lag:
    keys = projection.keys(log.keys, partition)
    stored = await read_hash(log.redis, keys.projector())
    rebuilding = projection.keys(log.keys, partition, rebuilding=True).projector()
    rebuild = await read_hash(log.redis, rebuilding)
    parked = await read_parked(log, keys.parked())
    oldest_ms = min((job.at_ms for job in parked.values() if job.at_ms), default=now_ms)
    return Lag(
        **asdict(await partition_lag(log, partition, stored, now_ms)),
        folded=stored_number(stored, b"folded") or 0,
        parked=len(parked),
        oldest_parked_s=age_s(now_ms, oldest_ms),
        rebuilt_events=(stored_number(rebuild, b"folded") or 0) if rebuild else None,
    )


async def partition_lag(
    log: Log, partition: int, stored: Mapping[bytes, bytes], now_ms: int
) -> PartitionLag:
    """Return the lag of whoever stores its owner, lease and checkpoint in the hash `stored`.

    `now_ms` is the server's time, Unix ms. What cannot be read counts as 0. Raises Unavailable.
    """
    is_owned = (stored_number(stored, b"until_ms") or 0) > now_ms
    checkpoint = stored_entry_id(stored, b"checkpoint") or NO_ENTRY
    after = await count_all_entries(
        log.redis, log.keys.log(partition), f"({checkpoint}", most=COUNT_LIMIT
    )
    first_ms = entry_time_ms(after.first) if after.count else now_ms
    return PartitionLag(
        partition=partition,
        owner=stored.get(b"owner", b"").decode(errors="replace") if is_owned else "",
        checkpoint=checkpoint,
        lag_events=after.count,
        lag_s=age_s(now_ms, first_ms),
    )


def age_s(now_ms: int, at_ms: int) -> float:
    """Return the seconds from one Unix time in ms to another, 0 when it lies in the future."""
    return max(0, now_ms - at_ms) / 1000
