"""A job id that was used again after a trim: what is exported, imported and replayed of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.archives.export_file import check_export
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.folder import Folder
from everfold.streams.events.event import CancelRequested
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.history import all_history
from everfold.timeline.reading import Span, read_tracks
from tests.everfold.running import Everfold, ended
from tests.projector.jobs import GRAPH, assert_projected, projecting, work
from tests.support.servers import OwnServer

pytestmark = pytest.mark.anyio

JOB = "used-again"


async def used_again(everfold: Everfold, log: Log, archive: Path) -> None:
    """Make a job, archive and trim it, and make another one of its id, which waits."""
    await log.submit(GRAPH, job_id=JOB, user="ada")
    await log.append(JOB, CancelRequested(reason="away"), epoch=UNLEASED)
    await work(log)
    async with projecting(log):
        await assert_projected(log, [JOB])
    await ended(everfold("archive", "run", "--archive", str(archive), "--everything"))
    await ended(everfold("archive", "trim", "--retention", "0"))
    assert (await log.submit(GRAPH, job_id=JOB)).created


async def assert_newest(log: Log, back: Log) -> None:
    """Assert that `back` has the newest job alone, as it is in `log`."""
    kept = [event.payload for event in await job_events(log, JOB)]
    assert [record.payload async for record in all_history(back)] == kept
    async with projecting(back):
        await assert_projected(back, [JOB])
    assert not await command(back.redis, "HGET", back.keys.head(JOB), "cancel")


async def test_an_import_has_the_newest_job_of_an_id(
    everfold: Everfold, log: Log, server: OwnServer, tmp_path: Path
) -> None:
    await used_again(everfold, log, tmp_path / "a")
    file = tmp_path / "all.jsonl.gz"
    await ended(everfold("archive", "export", str(file)))
    events = check_export(file).end.events
    assert events > 2
    told = await ended(everfold("archive", "import", str(file), "--namespace", "back"))
    assert told == [
        "1 events imported into back, 1 job for a runner",
        f"{events - 1} of earlier jobs, whose ids were used again, are left out",
    ]
    async with Log.open(server.url, namespace="back") as back:
        await assert_newest(log, back)
        assert (await verify(back)).is_sound
        assert [lease.job_id for lease in await work(back)] == [JOB]


async def test_a_timeline_has_the_newest_job_of_an_id(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    await used_again(everfold, log, tmp_path / "a")
    archive = Archive(Folder(str(tmp_path / "a")))
    [track] = await read_tracks(log, [], Span(None, None), None, 4_000_000_000_000, archive)
    assert track.status == "queued"


async def test_a_replay_into_a_namespace_has_the_newest_job_of_an_id(
    everfold: Everfold, log: Log, server: OwnServer, tmp_path: Path
) -> None:
    await used_again(everfold, log, tmp_path / "a")
    file = tmp_path / "both.jsonl"
    await ended(everfold("audit", "replay", "--to", str(file)))
    assert len(file.read_text().splitlines()) > 2
    told = await ended(everfold("audit", "replay", "--to", "trial"))
    assert told[-1] == "1 events replayed to trial"
    async with Log.open(server.url, namespace="trial") as trial:
        await assert_newest(log, trial)
