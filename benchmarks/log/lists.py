"""How long a page of one user's jobs takes among very many of others, and what the index costs.

Rule: beside the unfiltered page of the same server, in turns. The same filters are measured without
the index, too: then every job is looked at, up to a bound.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping

import anyio
from msgspec import Struct

from benchmarks.measuring.server import bench_server
from benchmarks.measuring.table import Ratio, ratio
from everfold import Everfold, JobFilter, Log, Projector
from everfold.projector.reading.lag import lag
from everfold.streams.events.codec import encode
from everfold.streams.events.event import Canceled, Event, Policy, Submitted
from everfold.streams.redis.redis_errors import command

OPEN_EACH = 5
"""One of so many jobs is open."""

OF_BOB = 60
"""Jobs of the user whose page is read."""

PAGE = 50

FILTERS: Mapping[str, JobFilter] = {
    "user": JobFilter(user="bob"),
    "user, open": JobFilter(user="bob", statuses=("queued", "running")),
    "status of a fifth": JobFilter(statuses=("queued",)),
    "batch and tag": JobFilter(batch="july", tag="bob"),
    "nobody's": JobFilter(user="nobody"),
}


class ListFigures(Struct, frozen=True):
    jobs: int
    ratios: list[Ratio]
    unindexed: list[Ratio]
    index_bytes: float
    """What the index takes of the server's memory for each job."""


async def measure_lists(jobs: int, repeat: int) -> ListFigures:
    async with bench_server() as (url, _), Everfold.connect(url) as everfold:
        await _fill(everfold.log, jobs)
        size = await _index_bytes(everfold.log) / jobs
        indexed = await _measure(everfold, repeat, at_most=2)
        for partition in range(everfold.log.keys.partitions):
            key = everfold.log.keys.projector(partition)
            await command(everfold.log.redis, "HDEL", key, "indexes")
        return ListFigures(jobs, indexed, await _measure(everfold, max(3, repeat // 3)), size)


async def _fill(log: Log, jobs: int) -> None:
    """Append the events of all jobs as an import does, and project them."""
    stride = jobs // OF_BOB
    for begin in range(0, jobs, 2_000):
        pipeline = log.redis.pipeline(transaction=False)
        for i in range(begin, min(begin + 2_000, jobs)):
            _add(pipeline, log, i, "bob" if i % stride == 0 else f"user-{i % 5_000}")
        await pipeline.execute()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Projector(log, "bench").run)
        await _until_folded(log)
        tasks.cancel_scope.cancel()


async def _until_folded(log: Log) -> None:
    while True:
        await anyio.sleep(0.5)
        if not any(one.lag_events for one in await lag(log)):
            return


def _add(pipeline: object, log: Log, i: int, user: str) -> None:
    job_id = str(uuid.uuid4())
    submitted = Submitted(
        kind="portrait",
        user=user,
        queue="default",
        priority="normal",
        workflow="ab" * 32,
        metadata={"order": i},
        policy=Policy(),
        batch="july" if i % 10 == 0 else "june",
        tags=("bob",) if user == "bob" else ("other",),
    )
    events: list[Event] = [submitted, *([] if i % OPEN_EACH == 0 else [Canceled()])]
    key = log.keys.log(log.keys.partition_of(job_id))
    for seq, event in enumerate(events, 1):
        fields = ("j", job_id, "s", seq, "e", 0, "p", "0-0", "d", encode(log.stamp(event)))
        pipeline.execute_command("XADD", key, "*", *fields)  # type: ignore[attr-defined]


async def _index_bytes(log: Log) -> int:
    total = 0
    for partition in range(log.keys.partitions):
        jobs = log.keys.jobs(partition)
        for key in (jobs.index(), jobs.indexed()):
            found = await command(log.redis, "MEMORY", "USAGE", key, "SAMPLES", 1000)
            total += found if isinstance(found, int) else 0
    return total


async def _measure(everfold: Everfold, repeat: int, at_most: float | None = None) -> list[Ratio]:
    taken: dict[str, list[float]] = {name: [] for name in ("all", *FILTERS)}
    for turn in range(repeat + 1):
        for name, selects in {"all": JobFilter(), **FILTERS}.items():
            begin = time.perf_counter()
            await everfold.page(selects, None, PAGE)
            if turn:
                taken[name].append((time.perf_counter() - begin) * 1000)
    beside = f"the newest {PAGE} of all"
    return [
        ratio(name, taken[name], taken["all"], unit="ms", beside=beside, at_most=at_most)
        for name in FILTERS
    ]


def report(found: ListFigures) -> str:
    return "\n".join(
        (
            f"{found.jobs:,} jobs; the index takes {found.index_bytes:,.0f} bytes of each",
            *map(str, found.ratios),
            "without the index, where a page ends after 2,000 jobs:",
            *map(str, found.unindexed),
        )
    )
