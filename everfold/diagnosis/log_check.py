"""What `everfold doctor` says of the log: its size, its growth, who keeps it bounded, who holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial

from everfold.diagnosis.finding import Finding
from everfold.durations import span_text as span
from everfold.health.log_growth import LogSize, growth
from everfold.retention.keep import Memory, read_memory
from everfold.retention.keeper import Kept, kept_now
from everfold.streams.appending.log import Log
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import EverfoldError
from everfold.streams.events.record import entry_time_ms
from everfold.streams.reading.reader import first_entry_ids, log_size
from everfold.streams.reading.readers import ARCHIVE, readers
from everfold.streams.redis.access import may_send
from everfold.streams.redis.each import GRACE_S, each
from everfold.streams.redis.keys import PROJECTOR_GROUP
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_info, server_time_ms
from everfold.streams.retention.trimming import RETENTION_S, trim_bounds

LARGE_EVENTS = 100_000
"""A log of so many events has a history that somebody may miss."""

FEW_DAYS = 7.0

HELD_LIMIT_S = RETENTION_S + 3600.0
"""A reader that keeps events for longer has most likely been forgotten."""

BEGIN_RETENTION = (
    "start `everfold projector` or `everfold up`, without `--keep-log none`: else the server fills "
    "up, and refuses all writes"
)


async def log_check(log: Log) -> AsyncIterator[Finding]:
    """Yield a finding for each thing of the log. Raises a leaf of Unavailable."""
    missing = set[int]()
    outcomes = await each(log, partial(log_size, log), grace_s=GRACE_S)
    events, sizes = sum(outcomes.some(missing)), outcomes.values
    found = await each(log, partial(readers, log), sizes, grace_s=GRACE_S)
    archived = any(ARCHIVE in names for names in found.some(missing))
    kept = await kept_now(log)
    yield _size(events, len(missing), archived=archived)
    yield retention(kept)
    if not missing:  # of a part nothing can be said of the whole
        size = LogSize(events, await _bytes(log), await _age_s(log))
        if (grows := growing(size, await _memory(log), kept)) is not None:
            yield grows
    if archived:
        async for one in _holds(log, sizes):
            yield one


def _size(events: int, missing: int, *, archived: bool) -> Finding:
    advice = ""
    found = f"{events:,} events, {'archived' if archived else 'no archive'}"
    if missing:
        found += f"; no answer from {quantity(missing, 'partition')}"
    if events >= LARGE_EVENTS and not archived:
        advice = (
            "what is trimmed is gone: keep it with `everfold archive run --archive FOLDER`, or "
            "`everfold projector --archive FOLDER`"
        )
    return Finding("log", found, advice)


def retention(kept: Kept | None) -> Finding:
    """Say who keeps the log bounded, and what holds what should go."""
    if kept is None:
        return Finding("retention", "no process trims the log", BEGIN_RETENTION)
    age = "any age" if kept.age_s is None else f"the last {span(kept.age_s)}"
    share = "any size" if kept.share is None else f"{kept.share:.0%} of maxmemory"
    found = f"{kept.by or 'a process'} keeps {age}, {share}; {kept.events:,} events trimmed"
    if not kept.held_by:
        return Finding("retention", found)
    advice = f"let go what {kept.held_by} needs: `everfold archive readers` shows who holds"
    return Finding("retention", f"{kept.held_by} holds more than may be in memory", advice)


def growing(size: LogSize, memory: Memory | None, kept: Kept | None) -> Finding | None:
    """Say what the log grows by, and when memory ends; None where nothing can be said yet."""
    a_day = growth(size)
    if a_day is None:
        return None
    found = f"{a_day.events:,.0f} events a day, about {_megabytes(a_day.size_bytes)}"
    left = None
    if memory is not None and memory.most > 0:
        left = a_day.days_left(memory.most - memory.used)
    if left is None:
        return Finding("log growth", found)
    found += f"; {left:,.1f} days until maxmemory"
    # Where the log is kept bounded it does not come to that.
    advice = BEGIN_RETENTION if left < FEW_DAYS and kept is None else ""
    return Finding("log growth", found, advice)


def _megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 2**20:,.1f} MiB"


async def _memory(log: Log) -> Memory | None:
    return read_memory(await server_info(log.redis, "memory"))


async def _bytes(log: Log) -> int:
    """Return what the log takes of memory, 0 where the server does not say it."""
    total = 0
    try:
        if not await may_send(log.redis, "MEMORY", "USAGE", log.keys.log(0)):
            return 0  # most users may not ask
        for partition in range(log.keys.partitions):
            asked = ("MEMORY USAGE", log.keys.log(partition), "SAMPLES", 20)
            found = await command(log.redis, *asked)
            total += found if isinstance(found, int) else 0
    except EverfoldError:
        return 0
    return total


async def _age_s(log: Log) -> float:
    """Return the age of the oldest event."""
    firsts = await first_entry_ids(log)
    if not firsts:
        return 0.0
    oldest_ms = min(map(entry_time_ms, firsts.values()))
    return max(0.0, (await server_time_ms(log.redis) - oldest_ms) / 1000)


async def _holds(log: Log, sizes: Mapping[int, int]) -> AsyncIterator[Finding]:
    now_ms = await server_time_ms(log.redis)
    for partition, size in sizes.items():
        lowest = (await trim_bounds(log, partition, RETENTION_S))[0]
        age_s = (now_ms - entry_time_ms(lowest.entry_id)) / 1000
        is_reader = lowest.what.startswith(("reader", "consumer group"))
        if size and is_reader and age_s > HELD_LIMIT_S:
            found = f"{lowest.what} holds {size:,} events"
            yield Finding(f"partition {partition}", found, _removal(log, partition, lowest.what))


def _removal(log: Log, partition: int, what: str) -> str:
    if what.startswith("reader"):
        return "start it again, or remove it: `everfold archive forget NAME`"
    group = what.removeprefix("consumer group ")
    _, is_subscription, name = group.partition("subscription:")
    if is_subscription:
        return f"start it again, or remove it: `everfold subscriptions rm {name}`"
    if group == PROJECTOR_GROUP:
        return "start `everfold projector`"
    destroy = f"XGROUP DESTROY '{log.keys.log(partition)}' '{group}'"
    return f"start what reads by it again, or remove it: `redis-cli {destroy}`"
