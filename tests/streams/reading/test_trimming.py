"""Trimming: attempts to lose something, and what stops each of them."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.job.fold import fold
from everfold.projector.job.state import from_fields
from everfold.projector.reading.queries import current
from everfold.runner.execution.known_submit import known_submit
from everfold.runner.execution.restore_job import restore_job
from everfold.streams.appending.job_input import JobInput
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.archive import archiver as archiver_module
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.errors import BrokenChain, JobUnknown
from everfold.streams.events.event import AssetInput, Canceled
from everfold.streams.events.needs import Needs
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import job_events, log_size
from everfold.streams.reading.readers import Missed, register, unregister
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.retention.history import history_pages, job_history
from everfold.streams.retention.trimming import TrimBound, trim, trim_bounds, trim_oldest
from tests.projector.jobs import add_raw, assert_projected, end, make_jobs, projecting, work
from tests.streams.appending.test_log import GRAPH
from tests.support.many_jobs import add_jobs
from tests.support.stored_names import names_like
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(redis_url: str, namespace: str):  # type: ignore[no-untyped-def]
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.setattr(archiver_module, "SEGMENT_EVENTS", 40)
    return Archive(Folder(str(tmp_path / "archive")))


async def history(log: Log, archive: Archive | None, size: int = 7) -> list[Recorded]:
    found: list[Recorded] = []
    async for page in history_pages(log, 0, archive=archive, size=size):
        found += page
    return found


async def ended_and_archived(log: Log, archive: Archive, count: int = 10) -> list[str]:
    jobs = await make_jobs(log, count)
    await work(log)
    async with projecting(log):
        await assert_projected(log, jobs)
    await Archiver(log, archive).run(everything=True)
    return jobs


async def test_what_everybody_has_taken_is_trimmed_and_still_read(
    log: Log, archive: Archive
) -> None:
    jobs = await ended_and_archived(log, archive)
    before = await history(log, None)
    stories = {job_id: await job_events(log, job_id) for job_id in jobs}
    told = await trim(log, 0, retention_s=0)
    assert told.count == len(before)
    assert await log_size(log, 0) == 0
    assert await history(log, archive) == before
    for job_id in jobs:
        assert await job_history(log, job_id, archive) == stories[job_id]
        assert await read_hash(log.redis, log.keys.head(job_id)) == {}
        with pytest.raises(JobUnknown):
            await job_history(log, job_id)


async def test_the_stitch_has_neither_gap_nor_repeat(log: Log, archive: Archive) -> None:
    jobs = await ended_and_archived(log, archive)
    jobs += await make_jobs(log, 5)
    await work(log)
    whole = await history(log, None)
    await trim(log, 0, retention_s=0)
    assert 0 < await log_size(log, 0) < len(whole)
    for size in (1, 3, 1000):
        assert await history(log, archive, size) == whole
    for job_id in jobs:
        events = await job_history(log, job_id, archive)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def held_by(log: Log) -> str:
    told = await trim(log, 0, retention_s=0)
    assert told.count == 0
    return told.held_by


async def test_without_an_archive_nothing_is_trimmed(log: Log) -> None:
    await make_jobs(log, 3)
    await work(log)
    assert await held_by(log) == "no archive"


async def test_what_is_not_archived_yet_stays(log: Log, archive: Archive) -> None:
    await Archiver(log, archive).run()
    await make_jobs(log, 3)
    await work(log)
    async with projecting(log):
        await assert_projected(log, [])
    assert await held_by(log) == "reader archive"


async def test_a_group_that_has_not_read_holds_the_trim(log: Log, archive: Archive) -> None:
    await ended_and_archived(log, archive)
    group = ConsumerGroup(log, "billing", "b1", block_s=0.1)
    await group.create(0)
    assert await held_by(log) == "consumer group billing"
    records = await group.read_new(0, 5)
    assert await held_by(log) == "consumer group billing", "read is not done"
    await group.acknowledge(0, [record.entry_id for record in records])
    assert (await trim(log, 0, retention_s=0)).count == 5
    await group.aclose()


async def test_a_group_of_another_program_may_have_any_name(log: Log, archive: Archive) -> None:
    await ended_and_archived(log, archive)
    key = log.keys.log(0)
    await command(log.redis, "XGROUP CREATE", key, b"\xff\xfe", "0")
    assert await held_by(log) == r"consumer group \xff\xfe"
    end = TrimBound("the end", "9999999999999-0")
    found, _ = await trim_oldest(log, 0, end)  # as where it was made after the look
    assert (found.count, found.held_by) == (0, r"\xff\xfe")
    await command(log.redis, "XGROUP DESTROY", key, b"\xff\xfe")
    assert (await trim(log, 0, retention_s=0)).count > 0


async def test_an_open_job_holds_everything_since_its_first_event(
    log: Log, archive: Archive
) -> None:
    [waiting] = await make_jobs(log, 1)
    done = await make_jobs(log, 3)
    async with projecting(log):
        await assert_projected(log, done)
    await Archiver(log, archive).run(everything=True)
    assert await held_by(log) == "an open, parked or held job"
    assert len(await job_events(log, waiting)) == 1


async def test_young_events_stay(log: Log, archive: Archive) -> None:
    await ended_and_archived(log, archive)
    told = await trim(log, 0, retention_s=60)
    assert (told.count, told.held_by) == (0, "the retention")


async def test_a_required_reader_holds_until_it_is_removed(log: Log, archive: Archive) -> None:
    await register(log, 0, "audit", NO_ENTRY)
    await ended_and_archived(log, archive)
    assert await held_by(log) == "reader audit"
    assert await unregister(log, 0, "audit")
    assert (await trim(log, 0, retention_s=0)).count > 0


async def test_a_best_effort_reader_that_comes_too_late_is_told_what_it_missed(
    log: Log, archive: Archive
) -> None:
    assert await register(log, 0, "tool", NO_ENTRY, lease_s=60) is None
    await ended_and_archived(log, archive)
    assert await held_by(log) == "reader tool"
    await register(log, 0, "tool", NO_ENTRY, lease_s=0.05)
    await anyio.sleep(0.1)
    last = (await history(log, None))[-1].entry_id
    assert (await trim(log, 0, retention_s=0)).count > 0
    assert await register(log, 0, "tool", NO_ENTRY, lease_s=60) == Missed(NO_ENTRY, last)


async def test_a_reader_that_registers_between_the_look_and_the_trim_is_heeded(
    log: Log, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script looks once more: the bound that was computed before is not trusted alone."""
    await ended_and_archived(log, archive)

    async def then_register(*_: object, **__: object) -> object:
        found = await trim_bounds(log, 0, 0)
        await register(log, 0, "audit", NO_ENTRY)
        return found

    monkeypatch.setattr("everfold.streams.retention.trimming.trim_bounds", then_register)
    assert await held_by(log) == "audit"


async def test_a_rebuild_reads_what_was_trimmed_from_the_archive(
    log: Log, archive: Archive
) -> None:
    jobs = await ended_and_archived(log, archive)
    stories = {job_id: await job_events(log, job_id) for job_id in jobs}
    await trim(log, 0, retention_s=0)
    jobs += await make_jobs(log, 4)
    await command(log.redis, "DEL", *(log.keys.job(job_id) for job_id in jobs[:3]))
    rebuilt = await Rebuild(log, JobsProjection(), archive=archive).run()
    assert rebuilt.parked == 0
    for job_id, story in stories.items():
        state = from_fields(await read_hash(log.redis, log.keys.job(job_id)))
        assert state == fold(story)


async def test_reading_without_the_archive_says_what_is_missing(log: Log, archive: Archive) -> None:
    [long] = await make_jobs(log, 1)
    leases = await work(log, finish=False)
    assert leases
    await Archiver(log, archive).run(everything=True)
    await command(log.redis, "XTRIM", log.keys.log(0), "MAXLEN", 3)
    with pytest.raises(BrokenChain):
        await job_history(log, long)
    assert [event.seq for event in await job_history(log, long, archive)] == list(range(1, 10))


async def test_a_runner_that_wakes_after_its_job_was_trimmed_does_not_submit_it_again(
    log: Log, archive: Archive
) -> None:
    [job_id] = await make_jobs(log, 1)
    [lease] = await work(log, finish=False)
    seen = await current(log, job_id)
    stored = await log.workflow(job_id, seen.stored) or b""
    submitted = await known_submit(log, lease, Needs(), JobInput(stored, stored=stored))
    await end(log, lease)
    async with projecting(log):
        await assert_projected(log, [job_id])
    assert (await trim(log, 0, 0, needs_archive=False)).count > 0
    log.memory.clear()
    await restore_job(log, seen, submitted)
    assert await log_size(log, 0) == 0
    await command(log.redis, "DEL", log.keys.trimmed(0))
    await restore_job(log, seen, submitted)
    assert await log_size(log, 0) > 0, "a server that lost everything gets the job back"


async def test_a_job_that_is_submitted_again_after_a_loss_sends_the_same_files(log: Log) -> None:
    file = AssetInput(
        asset="0e8b4b0c-9a44-5e0e-8c8a-3b0f3c9d4e5f",
        hash="blake3:" + "ab" * 32,
        size_bytes=3,
        media_type="image/png",
        name="photo.png",
    )
    made = await log.submit(GRAPH, inputs={"1.image": file})
    seen = await current(log, made.job_id)
    await command(log.redis, "DEL", *await names_like(log.redis, f"{log.keys.tag(0)}*"))
    await restore_job(log, seen, None)
    assert (await current(log, made.job_id)).inputs == {"1.image": file}
    assert await command(log.redis, "HLEN", log.keys.graph_assets(0)) == 1


async def test_a_parked_job_keeps_its_events_though_it_has_ended(
    log: Log, archive: Archive
) -> None:
    [job_id] = await make_jobs(log, 1)
    await add_raw(log, job_id, 2, b'{"type":"job.teleported","id":"x","actor":"y","v":1}')
    await log.append(job_id, Canceled(), epoch=UNLEASED)
    async with projecting(log):
        await eventually(lambda: log.redis.hlen(log.keys.parked(0)), 10)
    await Archiver(log, archive).run(everything=True)
    assert await held_by(log) == "an open, parked or held job"


async def calls_of_a_trim(log: Log) -> int:
    """Return how many commands the server ran, those of scripts included, for a trim and for a
    look at what holds it."""
    before = await calls(log)
    told = await trim(log, 0, retention_s=0, needs_archive=False)
    assert told.count == 0
    await trim_bounds(log, 0, 0, needs_archive=False)
    return await calls(log) - before


async def calls(log: Log) -> int:
    text = await command(log.redis, "INFO", "commandstats")
    assert isinstance(text, bytes)
    return sum(int(found) for found in re.findall(r"calls=(\d+)", text.decode()))


@pytest.mark.one_server  # Sentinels and the other nodes of a cluster send commands, too
async def test_a_trim_reads_as_much_beside_many_open_jobs_as_beside_some(
    log: Log, redis_url: str, namespace: str
) -> None:
    await add_jobs(log, 600, "waiting")
    await calls_of_a_trim(log)  # what is only sent once
    async with Log.open(redis_url, namespace=f"{namespace}-b", partitions=1) as larger:
        await add_jobs(larger, 30_000, "waiting")
        assert await calls_of_a_trim(larger) == await calls_of_a_trim(log)
