"""Read the log: one job's events, one partition's, or everything as it happens.

Rule: reading changes nothing; a reader holds its own cursor and, where it blocks, its own
connection. A cursor is the entry id of the last event seen.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from heapq import heapify, heappop, heapreplace
from typing import cast

import anyio
from msgspec import Struct
from redis.asyncio import Redis

from everfold.streams.appending.job_page import job_chain
from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.closing import close
from everfold.streams.errors import EverfoldError, JobUnknown
from everfold.streams.events.checks import check_job
from everfold.streams.events.ranges import whole_number
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_order, recorded
from everfold.streams.reading.node_tasks import queue_of
from everfold.streams.reading.role_look import RoleLook
from everfold.streams.redis.each import each
from everfold.streams.redis.pages import PAGE, Entries, entry_page
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import Backoff, with_retry
from everfold.streams.redis.server import BLOCK_S

logger = get_logger("everfold.log")

Batch = tuple[int, list[Recorded]]
"""A partition, and events of it."""


async def job_events(log: Log, job_id: str, after_seq: int = 0) -> list[Recorded]:
    """Return the job's events with a sequence number above `after_seq`, in order.

    Where the log was trimmed, the list begins with the first event that is still there. It costs
    as much as the job has events. Raises JobUnknown, or a leaf of Unavailable when the server
    stayed away for the log's `retry_for_s`, InvalidName for a number that is none.
    """
    return (await job_tail(log, job_id, after_seq)).events


class JobTail(Struct, frozen=True):
    """A job's events after a sequence number."""

    events: list[Recorded]
    is_cut: bool
    """The log does not have all of them."""
    strange_entry: str = ""
    """Entry id that their chain leads to and that is not an earlier event of the job; empty for a
    chain in order."""


async def job_tail(log: Log, job_id: str, after_seq: int = 0) -> JobTail:
    """Return what `job_events` returns, and whether events are missing. Raises as that does."""
    job_id, after_seq = check_job(job_id), whole_number("after_seq", after_seq)
    chain = await job_chain(log, job_id, after_seq)
    if chain.outcome == b"unknown":
        raise JobUnknown(job_id)
    strange = chain.following if chain.outcome == b"strange" else ""
    return JobTail(chain.events[::-1], is_cut=chain.outcome != b"page", strange_entry=strange)


async def partition_page(
    log: Log, partition: int, after: str, size: int = PAGE, until: str = "+"
) -> list[Recorded]:
    """Return up to `size` of a partition's events after one entry id, up to and with `until`.

    There are fewer where they are large; an empty page is the end. Raises a leaf of Unavailable
    when the server stayed away for the log's `retry_for_s`.
    """
    key = log.keys.log(partition)
    read = partial(entry_page, log.redis, key, f"({after}", until, most=size)
    rows = await with_retry(read, log.retry_for_s)
    return [recorded(entry_id, fields) for entry_id, fields in rows]


async def partition_events(
    log: Log, partition: int, after: str = NO_ENTRY, until: str = "+"
) -> AsyncIterator[Recorded]:
    """Yield a partition's events after one entry id, page by page, up to what the log holds then.

    Raises as `partition_page` does; what was yielded stays good.
    """
    async for page in partition_pages(log, partition, after, until):
        for record in page:
            yield record


async def partition_pages(
    log: Log, partition: int, after: str = NO_ENTRY, until: str = "+", size: int = PAGE
) -> AsyncIterator[list[Recorded]]:
    """Yield what `partition_events` yields in pages of up to `size` events. Raises as that does."""
    while page := await partition_page(log, partition, after, size, until):
        yield page
        after = page[-1].entry_id


async def log_size(log: Log, partition: int) -> int:
    """Return how many events of a partition the log holds. Raises a leaf of Unavailable."""
    return cast("int", await command(log.redis, "XLEN", log.keys.log(partition)))


async def all_events(log: Log) -> AsyncIterator[Recorded]:
    """Yield the events of all partitions, merged by time; holds one page of each in memory.

    Raises as `partition_page` does.
    """
    readers = [partition_events(log, partition) for partition in range(log.keys.partitions)]
    async for record in merged(readers):
        yield record


async def merged(readers: Sequence[AsyncIterator[Recorded]]) -> AsyncIterator[Recorded]:
    """Yield what several readers yield, in the order of entry ids; each must be in that order."""
    nexts = list[tuple[tuple[int, int], int, Recorded]]()
    for place, reader in enumerate(readers):
        if (record := await anext(reader, None)) is not None:
            nexts.append((entry_order(record.entry_id), place, record))
    heapify(nexts)
    while nexts:
        _, place, record = nexts[0]
        yield record
        if (following := await anext(readers[place], None)) is None:
            heappop(nexts)
        else:
            heapreplace(nexts, (entry_order(following.entry_id), place, following))


async def first_entry_ids(log: Log) -> dict[int, str]:
    """Return partition -> entry id of its oldest event, for those that have one; in one trip.

    Raises a leaf of Unavailable.
    """
    found = await each(log, partial(first_entry_id, log))
    return {partition: first for partition, first in enumerate(found.all()) if first}


async def first_entry_id(log: Log, partition: int) -> str:
    """Return the entry id of a partition's oldest event, empty for none. May raise Unavailable."""
    rows = await command(log.redis, "XRANGE", log.keys.log(partition), "-", "+", "COUNT", 1)
    found = cast("Entries", rows)
    return found[0][0].decode() if found else ""


async def last_entry_ids(log: Log) -> dict[int, str]:
    """Return partition -> entry id of its last event, 0-0 for none. May raise Unavailable."""
    return dict(enumerate((await each(log, partial(last_entry_id, log))).all()))


async def last_entry_id(log: Log, partition: int) -> str:
    """Return the entry id of a partition's last event, 0-0 for none. May raise Unavailable."""
    key = log.keys.log(partition)
    rows = cast("Entries", await command(log.redis, "XREVRANGE", key, "+", "-", "COUNT", 1))
    return rows[0][0].decode() if rows else NO_ENTRY


@contextlib.asynccontextmanager
async def tail(
    log: Log, after: Mapping[int, str] | None = None
) -> AsyncIterator[AsyncIterator[list[Recorded]]]:
    """Follow all partitions live, from the given cursors (partition -> entry id) or from now on.

    Yields pages of one partition's events, in log order. An entry that another
    program wrote there is an Unreadable event without a job. Whatever the server answers, it tries
    again without end, says so in the log, and goes on where it was. What is appended after entering
    is seen. Only entering without cursors raises a leaf of Unavailable, after the log's
    `retry_for_s`.
    """
    async with tail_partitions(log, after) as batches:
        yield (batch async for _, batch in batches)


@contextlib.asynccontextmanager
async def tail_partitions(
    log: Log, after: Mapping[int, str] | None = None
) -> AsyncIterator[AsyncIterator[tuple[int, list[Recorded]]]]:
    """Do as `tail`, but yield each batch with the number of its partition."""
    if after is None:
        after = await with_retry(lambda: last_entry_ids(log), log.retry_for_s)
    cursors = dict(after)
    async with queue_of(log, cursors, partial(_follow, log, cursors)) as batches:
        yield batches


async def _follow(
    log: Log, cursors: dict[int, str], group: Sequence[int], batches: asyncio.Queue[Batch]
) -> None:
    """Put the events of some partitions into `batches`, and move their cursors along."""
    redis = log.redis.blocking(
        log.keys.log(group[0]), name=f"everfold:{log.actor}", block_s=BLOCK_S
    )
    backoff, said, role = Backoff(), "", RoleLook(log)
    behind = deque(group)
    """Partitions that may have more events, in turn. Only when none has, a read blocks."""
    try:
        while True:
            try:
                if behind:
                    found = await _next_page(log, cursors, behind)
                else:
                    found = await _wait(log, {p: cursors[p] for p in group}, redis)
                    if not found:
                        await role.look(redis)
            except EverfoldError as error:
                if said != str(error):
                    logger.warning("tail_waits why=%r", str(error))
                said = str(error)
                await anyio.sleep(backoff.next_s())
                behind = deque(group)
                continue
            if said:
                logger.warning("tail_goes_on")
            backoff.reset()
            said = ""
            for partition, rows in found:
                records = [recorded(entry_id, fields) for entry_id, fields in rows]
                await batches.put((partition, records))
                cursors[partition] = rows[-1][0].decode()  # not before: put may be cancelled
                behind.append(partition)
    finally:
        await close(redis)


async def _next_page(
    log: Log, cursors: Mapping[int, str], behind: deque[int]
) -> list[tuple[int, Entries]]:
    """Return a page of the first partition of `behind`, which leaves it."""
    partition = behind[0]
    rows = await entry_page(log.redis, log.keys.log(partition), f"({cursors[partition]}")
    behind.popleft()
    return [(partition, rows)] if rows else []


async def _wait(log: Log, cursors: Mapping[int, str], redis: Redis) -> list[tuple[int, Entries]]:
    """Wait for events; return the next one of each partition that has any."""
    partition_by_key = {log.keys.log(partition).encode(): partition for partition in cursors}
    keys = [log.keys.log(partition) for partition in cursors]
    block_ms = int(BLOCK_S * 1000)
    reply = await command(
        redis, "XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", *keys, *cursors.values()
    )
    streams = cast("list[tuple[bytes, Entries]]", reply or [])
    # Redis 7.0 also wakes for an entry that is gone again by then, with no rows.
    return [(partition_by_key[key], rows) for key, rows in streams if rows]
