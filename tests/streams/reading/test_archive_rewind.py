"""A server loses what was archived: the archive goes on where the log does, and tells the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.archive import archiver as archiver_module
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.check import check_archive
from everfold.streams.archive.folder import Folder
from everfold.streams.events.event import CancelRequested
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.history import job_history
from tests.projector.jobs import GRAPH, make_jobs, one_job_in_partition, work
from tests.support.servers import StartServer
from tests.support.trouble.rewinds import take_back, taken
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(own_server: StartServer) -> AsyncIterator[Log]:
    async with Log.open(own_server().url, namespace="rewind", partitions=1) as log:
        yield log


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.setattr(archiver_module, "SEGMENT_EVENTS", 8)
    return Archive(Folder(str(tmp_path / "archive")))


async def in_log(log: Log) -> list[object]:
    found = await command(log.redis, "XRANGE", log.keys.log(0), "-", "+")
    assert isinstance(found, list)
    return [list(row) for row in found]


async def in_archive(archive: Archive) -> list[object]:
    links = await archive.links(0)
    return [list(entry) for link in links for entry in await archive.entries(link)]


async def faults(log: Log, archive: Archive) -> list[str]:
    return [told async for told in check_archive(log, archive, 0) if isinstance(told, str)]


async def is_back(log: Log, job_id: str) -> bool:
    return len(await job_events(log, job_id)) == 3


async def test_after_a_loss_the_archive_goes_on_behind_what_the_log_still_has(
    log: Log, archive: Archive
) -> None:
    await make_jobs(log, 3)
    await work(log)
    job_id = (await log.submit(GRAPH)).job_id
    before = await taken(log)
    await log.append(job_id, CancelRequested(), epoch=0)
    await make_jobs(log, 12)
    await Archiver(log, archive).run(everything=True)

    await take_back(log, before)
    await eventually(partial(is_back, log, job_id), 20)
    again = Archive(archive.store)
    await Archiver(log, again).run(everything=True)

    assert await in_archive(again) == await in_log(log)
    assert await faults(log, again) == []
    assert len([await again.checked(link) for link in await again.links(0)]) > 3
    told = await job_events(log, job_id)
    await work(log)
    await Archiver(log, again).run(everything=True)
    await command(log.redis, "XTRIM", log.keys.log(0), "MAXLEN", 0)
    await command(log.redis, "DEL", log.keys.head(job_id))
    assert [one.event for one in await job_history(log, job_id, again)][: len(told)] == [
        one.event for one in told
    ]


async def test_what_comes_before_what_was_lost_by_a_clock_that_is_behind_is_archived(
    log: Log, archive: Archive
) -> None:
    await one_job_in_partition(log, 0)
    before = await taken(log)
    future = f"{2**42}-0"
    await command(log.redis, "XADD", log.keys.log(0), future, "not", "ours")
    await Archiver(log, archive).run(everything=True)
    await take_back(log, before)
    await make_jobs(log, 3)

    await Archiver(log, archive).run(everything=True)
    await Archiver(log, archive).run(everything=True)

    again = Archive(archive.store)
    assert await in_archive(again) == await in_log(log)
    assert await faults(log, again) == []
