"""Large entries pass through a server that lets few bytes of answers pile up, and a slow link.

Rule: whatever is read, is read in pages that are bounded in bytes, also where large entries follow
small ones. One answer above the server's limit cuts the connection off, and the test fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from everfold.commands.diagnosis.doctor import _examine
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.projector import Projector
from everfold.projector.reading.lag import checkpoints, lag
from everfold.projector.reading.queries import list_jobs
from everfold.projector.reading.verify import verify
from everfold.projector.subscribing.catch_up import CatchUp
from everfold.projector.subscribing.consumer import Consumer
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.check import check_archive
from everfold.streams.archive.folder import Folder
from everfold.streams.events.record import NO_ENTRY
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import all_events, log_size, tail
from everfold.streams.redis.pages import PAGE_BYTES
from everfold.streams.retention.history import all_history
from everfold.streams.retention.trimming import trim
from tests.support.server_choice import ServerChoice
from tests.support.servers import OwnServer, client, own_server
from tests.support.trouble.fault_proxy import FaultProxy

pytestmark = [pytest.mark.anyio, pytest.mark.server]

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
SMALL, LARGE = 1_000, 300
JOBS = SMALL + LARGE
METADATA: dict[str, object] = {"prompt": "x" * 60_000}
NAMESPACE = "large"
LINK = 1_000_000
"""Bytes a second of the slow link."""


@pytest.fixture(scope="module")
def server(server_choice: ServerChoice) -> Iterator[OwnServer]:
    assert server_choice.engine is not None
    with own_server(server_choice.engine, tcp=True, appendonly="no") as server:
        yield server


@pytest.fixture(scope="module")
async def jobs(server: OwnServer) -> str:
    """Small jobs, then large ones; from now on the server cuts off who lets 1 MB pile up."""
    async with Log.open(server.url, namespace=NAMESPACE, partitions=2) as log:
        for metadata, count in (({}, SMALL), (METADATA, LARGE)):
            async with anyio.create_task_group() as tasks:
                for _ in range(count):
                    tasks.start_soon(submit, log, metadata)
    with client(server.url) as redis:
        redis.config_set("client-output-buffer-limit", "normal 1mb 0 0")
    return server.url


async def submit(log: Log, metadata: dict[str, object]) -> None:
    await log.submit(GRAPH, metadata=metadata)


@pytest.fixture
async def log(jobs: str) -> AsyncIterator[Log]:
    with anyio.fail_after(60):
        async with Log.open(jobs, namespace=NAMESPACE) as log:
            log.retry_for_s = 5.0
            yield log


async def deliver_all(log: Log, name: str, wanted: int) -> None:
    """Run a consumer of a new subscription until it has delivered so many events."""
    seen: set[str] = set()
    enough = anyio.Event()

    async def deliver(delivery: Delivery) -> None:
        seen.add(delivery.record.job_id)
        if len(seen) == wanted:
            enough.set()

    subscription = Subscription(name, concurrency=50)(deliver)
    async with anyio.create_task_group() as tasks:
        await tasks.start(Consumer(log, "c", subscription).run)
        await enough.wait()
        tasks.cancel_scope.cancel()


async def project(log: Log) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "p").run)
        while any(row.lag_events for row in await lag(log)):  # noqa: ASYNC110
            await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()


async def test_the_projector_and_lists_make_progress(log: Log) -> None:
    await project(log)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(list_jobs, log)
    page = await list_jobs(log, limit=LARGE)
    assert len(page.jobs) == LARGE
    assert {len(job.metadata) for job in page.jobs} == {1}


async def test_events_are_read_one_by_one_live_and_after_a_cursor(log: Log, tmp_path: Path) -> None:
    assert len([record async for record in all_events(log)]) == JOBS
    assert len([record async for record in all_history(log)]) == JOBS
    followed = 0
    async with tail(log, {0: "0-0", 1: "0-0"}) as batches:
        async for batch in batches:
            followed += len(batch)
            assert len(batch) == 1 or sum(len(record.payload) for record in batch) <= PAGE_BYTES
            if followed == JOBS:
                break
    async with CatchUp(log) as feed:
        async for _ in feed:
            followed += 1
            if followed == 2 * JOBS:
                break


async def test_lag_doctor_verify_and_trim_make_progress(log: Log) -> None:
    assert sum(row.folded + row.lag_events for row in await lag(log)) == JOBS
    assert len(await checkpoints(log)) == 2
    assert [finding async for finding in _examine(log)]
    report = await verify(log)
    assert (report.jobs, report.differences, report.unsettled) == (JOBS, [], 0)
    assert {(await trim(log, partition, dry_run=True)).count for partition in (0, 1)} == {0}


async def test_subscriptions_make_progress(log: Log) -> None:
    await deliver_all(log, "s", JOBS)


async def test_a_rebuild_and_the_archiver_make_progress(log: Log, tmp_path: Path) -> None:
    assert (await Rebuild(log, JobsProjection()).run()).events == JOBS
    archive = Archive(Folder(str(tmp_path)))
    done = await Archiver(log, archive).run(everything=True)
    assert sum(one.events for one in done) == JOBS
    for partition in (0, 1):
        said = [found async for found in check_archive(log, archive, partition)]
        assert sum(found for found in said if isinstance(found, int)) == done[partition].events
        assert not [found for found in said if isinstance(found, str)]


async def test_large_graphs_are_archived(jobs: str, tmp_path: Path) -> None:
    async with Log.open(jobs, namespace="graphs", partitions=1) as other:
        other.retry_for_s = 5.0
        for number in range(60):
            await other.submit(
                {"1": {"class_type": "Note", "inputs": {str(number): "x" * 300_000}}}
            )
        archive = Archive(Folder(str(tmp_path)))
        await Archiver(other, archive).run(everything=True)
        [link] = await archive.links(0)
        assert len(set(link.manifest.graphs)) == 60
        assert await archive.checked(link)


async def test_pending_entries_are_taken_over_in_pages(log: Log) -> None:
    group = ConsumerGroup(log, "pending", "dead")
    await group.create(0)
    while await group.read_ready(0):
        pass
    heir = ConsumerGroup(log, "pending", "heir")
    await heir.take_over_pending(0)
    after, count = NO_ENTRY, 0
    while batch := await heir.read_pending(0, after):
        assert len(batch) == 1 or sum(len(one.payload) for one in batch) < PAGE_BYTES + 61_000
        after, count = batch[-1].entry_id, count + len(batch)
    assert count == await log_size(log, 0)
    await group.aclose()
    await heir.aclose()


async def test_over_a_slow_link_everything_makes_progress(jobs: str) -> None:
    """A megabyte a second: 12 large jobs take seconds, and no read is given up meanwhile."""
    async with (
        FaultProxy(jobs) as proxy,
        Log.open(proxy.url, namespace="slow", partitions=2) as log,
    ):
        for _ in range(12):
            await submit(log, METADATA)
        proxy.bytes_per_s = LINK
        with anyio.fail_after(60):
            await project(log)
            await deliver_all(log, "s", 12)
            assert (await verify(log)).differences == []
            assert len([record async for record in all_events(log)]) == 12
