"""Counts the jobs of batches, and lists the batches that there are, by the index of jobs.

Rule: a count reads no job. Where an index is not complete, the jobs of the batch are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import cast

from everfold.projector.folding.stored_jobs import read_stored_jobs
from everfold.projector.job.index_names import batch_status
from everfold.projector.job.job import STATUSES, Job
from everfold.projector.job.job_filter import JobFilter
from everfold.projector.reading.index_check import complete_indexes
from everfold.projector.reading.queries import PAGE_LIMIT, page_of
from everfold.streams.appending.log import Log
from everfold.streams.redis.each import GRACE_S, each
from everfold.streams.redis.redis_errors import command, commands
from everfold.streams.redis.retry import with_retry

READ_AGAIN = 5


async def count_batch(log: Log, name: str, newer: Mapping[str, Job]) -> dict[str, int]:
    """Return how many jobs of a batch have each status; those of `newer` as they are there.

    A job that has ended is counted as long as its state is kept.
    """
    if not await _is_indexed(log):
        return await _read_all(log, name, newer)
    ahead = {job_id: job for job_id, job in newer.items() if job.batch == name}
    known = list(ahead)
    counts, stored = await _counted(log, name), await read_stored_jobs(log, known)
    for _ in range(READ_AGAIN):
        before = stored
        counts, stored = await _counted(log, name), await read_stored_jobs(log, known)
        if before == stored:
            break
    for job in stored:
        if job is not None:
            counts[job.status] -= 1
    for job in ahead.values():
        counts[job.status] += 1
    return {status: counts[status] for status in STATUSES}


async def _is_indexed(log: Log) -> bool:
    async def is_indexed(partition: int) -> bool:
        if await complete_indexes(log, partition):
            return True
        keys = (log.keys.active(partition), log.keys.ended(partition))
        return not any([await command(log.redis, "ZCARD", key) for key in keys])

    return all((await each(log, is_indexed, grace_s=GRACE_S)).all())


async def _counted(log: Log, name: str) -> Counter[str]:
    asked = [
        ("ZLEXCOUNT", log.keys.jobs(partition).index(), f"[{named}\n", f"({named}\x0b")
        for partition in range(log.keys.partitions)
        for named in (batch_status(name, status) for status in STATUSES)
    ]
    replies = await with_retry(partial(commands, log.redis, asked), log.retry_for_s)
    counts: Counter[str] = Counter()
    for i, number in enumerate(cast("list[int]", replies)):
        counts[STATUSES[i % len(STATUSES)]] += number
    return counts


async def _read_all(log: Log, name: str, newer: Mapping[str, Job]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    cursor: str | None = None
    while True:
        selects = JobFilter(batch=name)
        page = await page_of(log, selects, cursor=cursor, limit=PAGE_LIMIT, newer=newer)
        counts.update(job.status for job in page.jobs)
        cursor = page.cursor
        if cursor is None:
            return {status: counts[status] for status in STATUSES}


async def batch_names(log: Log, after: str = "", limit: int = 50) -> list[str]:
    """Return names of batches of which jobs are kept, in their order, those after `after`."""
    names = partial(_names_in, log, after, limit)
    outcomes = await each(log, names, grace_s=GRACE_S)
    return sorted(set[str]().union(*outcomes.all()))[:limit]


async def _names_in(log: Log, after: str, limit: int, partition: int) -> set[str]:
    found, index, name = set[str](), log.keys.jobs(partition).index(), after
    for _ in range(limit):
        first = f"(batch={name}\x0b" if name else "[batch="
        read = partial(command, log.redis, "ZRANGEBYLEX", index, first, "(batch>", "LIMIT", 0, 1)
        rows = cast("list[bytes]", await with_retry(read, log.retry_for_s))
        if not rows:
            break
        name = rows[0].decode().split("\n")[0].removeprefix("batch=")
        found.add(name)
    return found
