"""What `everfold doctor` says of the log: how long it is, what keeps it, what is archived."""

from __future__ import annotations

from everfold.streams.appending.log import Log
from everfold.streams.events.record import entry_time_ms
from everfold.streams.reading.reader import log_size
from everfold.streams.reading.readers import ARCHIVE, readers
from everfold.streams.redis.server import server_time_ms
from everfold.streams.retention.trimming import RETENTION_S, trim_bounds

HELD_LIMIT_S = RETENTION_S + 3600.0
"""Somebody who keeps events for so long has most likely been forgotten."""

Told = tuple[str, str, str]
"""What was looked at, what was found, what to change."""


def _removal(what: str) -> str:
    _, found, name = what.partition("consumer group subscription:")
    return f"`everfold consumers rm {name}`" if found else "`everfold archive forget NAME`"


async def examine_log(log: Log) -> list[Told]:
    sizes = [await log_size(log, partition) for partition in range(log.keys.partitions)]
    known = [await readers(log, partition) for partition in range(log.keys.partitions)]
    archived = any(ARCHIVE in names for names in known)
    found = f"{sum(sizes):,} events, " + ("archived" if archived else "no archive")
    told = [("log", found, "")]
    if not archived:
        return told
    now_ms = await server_time_ms(log.redis)
    for partition, size in enumerate(sizes):
        lowest = (await trim_bounds(log, partition, RETENTION_S))[0]
        age_s = (now_ms - entry_time_ms(lowest.entry_id)) / 1000
        is_reader = lowest.what.startswith(("reader", "consumer group"))
        if size and is_reader and age_s > HELD_LIMIT_S:
            advice = "bring it back, or remove it: " + _removal(lowest.what)
            told.append((f"partition {partition}", f"{lowest.what} holds {size:,} events", advice))
    return told
