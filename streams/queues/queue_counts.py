"""How many jobs wait in each of many queues, by priority, and since when the first of them do.

Rule: each call of the server is short, however many queues there are, and none looks at all jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import cast

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.events.record import entry_time_ms
from everfold.streams.events.stored_fields import is_entry_id
from everfold.streams.redis.each import each
from everfold.streams.redis.keys import PRIORITIES
from everfold.streams.redis.redis_errors import commands
from everfold.streams.redis.script import Script

_measure_queues = Script("everfold.streams", "measure_queues", is_read_only=True)

QUEUES_AT_ONCE = 150
"""Queues of a partition that one call counts."""
HELD_LIMIT = 10_000
"""Jobs that runners hold, of one queue and priority of a partition, that are counted."""


class WaitingCount(Struct, frozen=True):
    """The jobs of one queue that wait for a runner."""

    by_priority: tuple[int, ...] = (0,) * len(PRIORITIES)
    first_ms: int = 0
    """When the oldest of those that stand first was submitted, Unix ms; 0 where nothing waits."""


async def count_waiting(log: Log, queues: Sequence[str]) -> dict[str, WaitingCount]:
    """Count what waits in each of these queues. Raises a leaf of Unavailable."""
    found = dict.fromkeys(queues, WaitingCount())

    async def count(partition: int) -> list[tuple[str, list[bytes | int]]]:
        rows = list[tuple[str, list[bytes | int]]]()
        for at in range(0, len(queues), QUEUES_AT_ONCE):
            page = queues[at : at + QUEUES_AT_ONCE]
            keys = [log.keys.waiting(partition, queue) for queue in page]
            reply = await _measure_queues.run(log.redis, keys, (log.keys.tag(partition),))
            answers = zip(page, cast("list[list[bytes | int]]", reply[1:]), strict=True)
            rows += [(queue, row) for queue, row in answers if row]
        return rows

    for rows in (await each(log, count)).all():
        for queue, row in rows:
            found[queue] = _added(found[queue], row)
    return found


def _added(known: WaitingCount, row: list[bytes | int]) -> WaitingCount:
    counts = cast("list[int]", row[::2])
    firsts = [cast("bytes", entry).decode(errors="replace") for entry in row[1::2]]
    times = [entry_time_ms(entry) for entry in firsts if is_entry_id(entry.encode())]
    if known.first_ms:
        times.append(known.first_ms)
    total = tuple(a + b for a, b in zip(known.by_priority, counts, strict=True))
    return WaitingCount(total, min(times, default=0))


async def count_running(log: Log, named: Sequence[tuple[str, str]]) -> list[int]:
    """Count the jobs of each (scope, name) that runners hold. Raises a leaf of Unavailable."""
    sets = [log.keys.all_running(scope, name) for scope, name in named]
    asked = [("SCARD", key) for keys in sets for key in keys]
    counts = iter(cast("list[int]", await commands(log.redis, asked)))
    return [sum(islice(counts, len(keys))) for keys in sets]


async def count_held(log: Log, queues: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Count the jobs of each queue that runners hold, by priority; queues without any are left out.

    What is being handed from one runner to another counts, too. Raises a leaf of Unavailable.
    """
    held = await count_running(log, [("queue", queue) for queue in queues])
    busy = [queue for queue, count in zip(queues, held, strict=True) if count]
    places = [
        (queue, priority, partition)
        for queue in busy
        for priority in PRIORITIES
        for partition in range(log.keys.partitions)
    ]
    found = {queue: dict.fromkeys(PRIORITIES, 0) for queue in busy}
    lanes = [log.keys.dispatch(p, queue, priority) for queue, priority, p in places]
    rows = await commands(log.redis, [("XRANGE", x, "-", "+", "COUNT", HELD_LIMIT) for x in lanes])
    for (queue, priority, _), entries in zip(places, rows, strict=True):
        found[queue][priority] += len(cast("list[object]", entries))
    return {queue: tuple(counts.values()) for queue, counts in found.items()}


async def count_later(log: Log, most: int) -> tuple[dict[tuple[str, str], int], int]:
    """Count the jobs that wait for a time by queue and priority, the `most` next ones of them.

    Returns those counts, and how many jobs there are besides. Raises a leaf of Unavailable.
    """
    partitions = range(log.keys.partitions)
    share = max(1, most // len(partitions))
    sizes = await commands(log.redis, [("ZCARD", log.keys.later(p)) for p in partitions])
    asked = [("ZRANGE", log.keys.later(p), 0, share - 1) for p in partitions]
    pages = cast("list[list[bytes]]", await commands(log.redis, asked))
    heads = [
        ("HMGET", log.keys.head(job.decode(errors="replace")), "queue", "priority")
        for page in pages
        for job in page
    ]
    counts = dict[tuple[str, str], int]()
    for queue, priority in cast("Iterable[list[bytes | None]]", await commands(log.redis, heads)):
        key = ((queue or b"").decode(errors="replace"), (priority or b"").decode(errors="replace"))
        counts[key] = counts.get(key, 0) + 1
    return counts, max(0, sum(cast("list[int]", sizes)) - len(heads))
