"""Law: a list by the index has the jobs that a filter over all jobs has, in the same order."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everfold.projector.config import ProjectorConfig
from everfold.projector.job.job import STATUSES, Job
from everfold.projector.job.job_filter import JobFilter
from everfold.projector.reading import positions, queries
from everfold.projector.reading.queries import page_of
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.events.event import Canceled, CancelRequested, Failed, Failure, Succeeded
from everfold.streams.leases.producer import Producer
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import GRAPH, caught_up, projecting, work
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

USERS, KINDS, BATCHES, TAGS = ("ada", "bob", ""), ("a", "b"), ("x", "y", ""), ("t", "u")
CODES = ("out_of_memory", "stalled")
JOBS = 60


async def make_all(log: Log) -> None:
    """Make jobs of every kind that filters tell apart, some of them waiting, running, or over."""
    for i in range(JOBS):
        await log.submit(
            GRAPH,
            user=USERS[i % 3],
            kind=KINDS[i % 2],
            batch=BATCHES[i // 2 % 3],
            queue=("default", "slow")[i % 7 == 0],
            tags=TAGS[: i % 3],
            metadata={"order_id": i % 4, "shop": str(i % 5)},
        )
    producer = Producer(log, "r")
    for i, lease in enumerate(await work(log, steps=1, finish=False)):
        if i % 5 == 0:
            await producer.finish(lease, Succeeded(attempt=1, outputs={}))
        elif i % 5 == 1:
            failure = Failure(code=CODES[i % 2], message="it failed")
            await producer.finish(lease, Failed(failure=failure, attempt=1))
        elif i % 5 == 2:
            await log.append(lease.job_id, CancelRequested(), epoch=0)
    for i in range(5):
        made = await log.submit(GRAPH, user=USERS[i % 3], tags=TAGS)
        if i % 2:
            await log.append(made.job_id, Canceled(), epoch=UNLEASED)


async def all_pages(log: Log, selects: JobFilter, limit: int) -> list[Job]:
    seen: list[Job] = []
    cursor: str | None = None
    for _ in count():
        page = await page_of(log, selects, limit=limit, cursor=cursor)
        assert len(page.jobs) <= limit
        seen += page.jobs
        cursor = page.cursor
        if cursor is None:
            break
    return seen


def text(*values: str) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from((*values, "nobody"))


FILTERS = st.builds(
    JobFilter,
    statuses=st.lists(st.sampled_from(STATUSES), max_size=3),
    user=text(*USERS),
    kind=text(*KINDS),
    batch=text(*BATCHES),
    queue=text("default", "slow"),
    tag=text(*TAGS),
    code=text(*CODES, ""),
    error=st.sampled_from((None, None, "It FAIL", "", "melted")),
    backend=st.sampled_from((None, None, "b")),
    metadata=st.dictionaries(st.sampled_from(("order_id", "shop")), st.sampled_from("0123")),
)


@pytest.fixture(params=["indexed", "indexed in part", "not indexed"])
async def made(log: Log, request: pytest.FixtureRequest) -> Log:
    async with projecting(log, config=ProjectorConfig(index_metadata=("order_id",))):
        await make_all(log)
        await eventually(lambda: caught_up(log))
    for partition in range(log.keys.partitions):
        if request.param == "not indexed" or (request.param == "indexed in part" and partition):
            await command(log.redis, "HDEL", log.keys.projector(partition), "indexes")
    return log


@pytest.mark.parametrize("looks", [3, 2_000])
async def test_a_list_by_the_index_is_a_filter_over_all(
    made: Log, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions, "LOOKS", looks)
    monkeypatch.setattr(queries, "LOOK_LIMIT", 10 * looks)
    every = await all_pages(made, JobFilter(), 1_000)
    assert len(every) == JOBS + 5
    asked: list[tuple[JobFilter, int]] = []

    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(FILTERS, st.sampled_from((1, 4, 50)), st.tuples(*2 * [st.integers(-1, JOBS + 4)]))
    def collect(selects: JobFilter, limit: int, ends: tuple[int, int]) -> None:
        newer, older = (None if i < 0 else every[i].updated_at_ms for i in ends)
        bounded = JobFilter(
            **{name: getattr(selects, name) for name in JobFilter.__struct_fields__}
            | {"newer_than_ms": newer, "older_than_ms": older}
        )
        asked.append((bounded, limit))

    collect()
    for selects, limit in asked:
        oldest, newest = selects.newer_than_ms or 0, selects.older_than_ms
        wanted = [
            job
            for job in every
            if selects.fits(job) and oldest <= job.updated_at_ms
            if newest is None or job.updated_at_ms <= newest
        ]
        found = await all_pages(made, selects, limit)
        assert [job.job_id for job in found] == [job.job_id for job in wanted], selects


async def test_a_list_says_that_an_index_is_not_there_yet(log: Log) -> None:
    async with projecting(log):
        for user in ("ada", "bob", "bob"):
            await log.submit(GRAPH, user=user, metadata={"order_id": 17})
        await eventually(lambda: caught_up(log))
    bob, order = JobFilter(user="bob"), JobFilter(metadata={"order_id": "17"})
    assert not (await page_of(log, JobFilter())).is_unindexed
    assert not (await page_of(log, bob)).is_unindexed
    page = await page_of(log, order)
    assert (len(page.jobs), page.is_unindexed) == (3, True)
    both = JobFilter(user="bob", metadata={"order_id": "17"})
    page = await page_of(log, both)
    assert (len(page.jobs), page.is_unindexed) == (2, False), "the other index was enough"
    for partition in range(log.keys.partitions):
        await command(log.redis, "HDEL", log.keys.projector(partition), "indexes")
    page = await page_of(log, bob)
    assert (len(page.jobs), page.is_unindexed) == (2, True)
