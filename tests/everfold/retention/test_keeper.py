"""A log that is kept bounded on a real server: no write is refused, and nothing held goes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from everfold.projector.reading.queries import get
from everfold.projector.reading.verify import verify
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.status import held_jobs
from everfold.projector.subscribing.subscription import BEGINNING, GiveUp, Subscription
from everfold.retention import keep as keep_module
from everfold.retention import keeper as keeper_module
from everfold.retention.keep import LOOK_EVERY_S, Keep
from everfold.retention.keeper import LogKeeper, is_pressed, kept_now
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.errors import ServerOutOfMemory
from everfold.streams.events.event import Canceled, Submitted
from everfold.streams.events.record import NO_ENTRY
from everfold.streams.reading.reader import job_events, log_size
from everfold.streams.reading.readers import register, unregister
from everfold.streams.redis.redis_errors import commands
from everfold.streams.redis.server import server_info
from everfold.streams.retention.trimming import trim
from tests.projector.jobs import GRAPH, caught_up, projecting
from tests.projector.subscribing.listening import consuming
from tests.support.programs.programs import StartProgram
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

DEFAULT = Keep()
MOST = 64 * 2**20
FILLER = "x" * 60_000


@pytest.fixture
async def log(own_server: StartServer) -> AsyncIterator[Log]:
    """The log of a server with 64 MB, a projector beside it."""
    url = own_server(maxmemory="64mb", **{"maxmemory-policy": "noeviction"}).url
    async with Log.open(url, partitions=8) as log, projecting(log):
        yield log


@contextlib.asynccontextmanager
async def keeping(
    log: Log, keep: Keep = DEFAULT, archive: Archive | None = None, name: str = "keeper"
) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(LogKeeper(log, name, keep, archive).run)
        yield
        tasks.cancel_scope.cancel()


async def one_job(log: Log, number: int, *, ends: bool = True) -> str:
    """Submit a job of about 120 KB of graph and metadata, and end it."""
    graph = {**GRAPH, "2": {"class_type": "Note", "inputs": {"text": f"{number} {FILLER}"}}}
    made = await log.submit(graph, metadata={"filler": FILLER}, job_id=f"job-{number}")
    if ends:
        await log.append(made.job_id, Canceled(reason="done"), epoch=UNLEASED)
    return made.job_id


async def many_jobs(log: Log, first: int, count: int) -> None:
    """Submit and end jobs, 4 at once. Raises what a full server answers."""
    left = list(range(first, first + count))

    async def work() -> None:
        while left:
            await one_job(log, left.pop())

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(work)


async def used(log: Log) -> int:
    return int((await server_info(log.redis, "memory"))["used_memory"])


async def size(log: Log) -> int:
    return sum([await log_size(log, p) for p in range(log.keys.partitions)])


async def below(log: Log, share: float) -> bool:
    return await used(log) <= MOST * share


async def owns(log: Log) -> bool:
    kept = await kept_now(log)
    return kept is not None and bool(kept.by)


@pytest.mark.long
async def test_twice_what_fits_is_written_and_no_write_is_refused(
    own_server: StartServer, start_program: StartProgram
) -> None:
    url = own_server(maxmemory="64mb", **{"maxmemory-policy": "noeviction"}).url
    projector = start_program("-m", "everfold", "projector", environ={"REDIS_URL": url})
    said = await projector.line("keeps ", within_s=30)
    assert "the last 7d, at most 60% of the server's maxmemory; older ones are trimmed" in said
    async with Log.open(url) as log:
        log.retry_for_s = 0.0
        await eventually(partial(owns, log), 10)
        first = await one_job(log, 1_000_000, ends=False)
        await many_jobs(log, 0, 600)
        last = await one_job(log, 2_000_000, ends=False)
        await eventually(partial(below, log, 0.7), 10)
        for job_id in (first, last):
            assert (await get(log, job_id)).status == "queued"
            (submitted,) = await job_events(log, job_id)
            assert isinstance(submitted.event, Submitted)
            assert await log.workflow(job_id, submitted.event.stored) is not None
        await eventually(partial(caught_up, log), 10)
        assert (await verify(log)).is_sound
        jobs = [f"job-{n}" for n in range(600)]
        heads = await commands(log.redis, [("EXISTS", log.keys.head(job)) for job in jobs])
        gone = [job for job, there in zip(jobs, heads, strict=True) if not there]
        assert len(gone) > 100

        async def have_no_state() -> bool:
            return 1 not in await commands(log.redis, [("EXISTS", log.keys.job(j)) for j in gone])

        await eventually(have_no_state, 10)  # a state goes right after its head


async def test_without_it_the_server_fills_up(log: Log) -> None:
    log.retry_for_s = 0.0
    async with keeping(log, Keep(None, None)):
        with pytest.raises(ExceptionGroup) as caught:
            await many_jobs(log, 0, 700)
        assert caught.group_contains(ServerOutOfMemory)
        assert await kept_now(log) is None


@pytest.fixture
def spares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep_module, "SPARED_S", 0.0)


@pytest.mark.usefixtures("spares_nothing")
async def test_what_a_reader_has_not_taken_stays_and_is_named(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    for partition in range(log.keys.partitions):
        await register(log, partition, "slow", NO_ENTRY)
    await many_jobs(log, 0, 220)
    before = await size(log)
    with caplog.at_level(logging.WARNING, "everfold.retention"):
        async with keeping(log, Keep(share=0.3)):
            await eventually(partial(is_pressed, log), 10)
            kept = await kept_now(log)
            assert kept is not None
            assert kept.held_by == "reader slow"
            assert await size(log) == before
            assert "memory_above_limit" in caplog.text
            assert "reader slow" in caplog.text
            for partition in range(log.keys.partitions):
                await unregister(log, partition, "slow")
            await eventually(partial(below, log, 0.3), 10)
    assert (await verify(log)).is_sound


@pytest.mark.usefixtures("spares_nothing")
async def test_what_a_subscription_holds_stays(log: Log) -> None:
    async def refuse(_: Delivery) -> None:
        raise GiveUp("no")

    held = await one_job(log, 7)
    async with consuming(log, Subscription("notes", start=BEGINNING)(refuse)):
        await eventually(partial(held_jobs, log, "notes"), 10)
        async with keeping(log, Keep(share=0.05)):
            await many_jobs(log, 100, 30)
            await eventually(partial(owns, log))
            await anyio.sleep(1.5)  # it has looked at least once more
            assert len(await job_events(log, held)) == 2


async def test_what_is_too_old_goes_and_what_is_open_stays(
    log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeper_module, "OLD_EVERY_S", 0.1)
    await many_jobs(log, 0, 40)
    open_job = await one_job(log, 100, ends=False)
    await eventually(partial(caught_up, log), 10)

    async def only_open() -> bool:
        return await size(log) == 1

    with caplog.at_level(logging.INFO, "everfold.retention"):
        async with keeping(log, Keep(age_s=0.5, share=None)):
            await eventually(only_open, 10)
            await eventually(lambda: "log_trimmed events=" in caplog.text, 10)
    assert len(await job_events(log, open_job)) == 1
    assert "log_trimmed events=" in caplog.text
    assert "why=age" in caplog.text


@pytest.mark.usefixtures("spares_nothing")
async def test_with_an_archive_nothing_goes_that_is_not_in_it(
    log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("OLD_EVERY_S", "ARCHIVE_EVERY_S"):
        monkeypatch.setattr(keeper_module, name, 0.1)
    archive = Archive(Folder(str(tmp_path / "kept")))
    await many_jobs(log, 0, 150)
    async with keeping(log, Keep(age_s=None, share=0.2), archive):
        await eventually(partial(below, log, 0.2), 15)
    kept = [await archive.links(p) for p in range(log.keys.partitions)]
    archived = sum(link.manifest.count for links in kept for link in links)
    assert archived + await size(log) >= 300
    assert archived > 0


async def test_a_server_that_does_not_say_its_memory_is_told_of_once(
    log: Log, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep_module, "LOOK_AT_LEAST_EVERY_S", LOOK_EVERY_S)
    await commands(log.redis, [("ACL", "SETUSER", "default", "-info")])
    with caplog.at_level(logging.WARNING, "everfold.retention"):
        async with keeping(log, Keep(age_s=0.1)):
            await eventually(lambda: "memory_unseen" in caplog.text)
            await anyio.sleep(3 * LOOK_EVERY_S)
    assert caplog.text.count("memory_unseen") == 1


async def test_one_of_two_does_it_and_the_other_goes_on_when_it_ends(log: Log) -> None:
    async def owner() -> str:
        kept = await kept_now(log)
        return kept.by if kept else ""

    async def is_owner(name: str) -> bool:
        return await owner() == name

    async with keeping(log, name="first"):
        await eventually(partial(is_owner, "first"), 10)
        async with keeping(log, name="second"):
            await anyio.sleep(0.2)
            assert await owner() == "first"


async def test_an_archive_may_begin_after_events_were_trimmed(log: Log, tmp_path: Path) -> None:
    await many_jobs(log, 0, 40)
    await eventually(partial(caught_up, log), 10)
    for partition in range(log.keys.partitions):
        await trim(log, partition, 0, needs_archive=False)
    await many_jobs(log, 100, 8)
    archive = Archive(Folder(str(tmp_path / "kept")))
    written = await Archiver(log, archive).run(everything=True)
    assert sum(one.events for one in written) == 16
