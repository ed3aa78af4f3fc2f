"""An import that is killed in the middle: the namespace says so, and the import goes on."""

from __future__ import annotations

import gzip
import os
from collections import defaultdict
from pathlib import Path

import pytest

from everfold.archives.export_file import check_export, read_export
from everfold.projector.reading.queries import current
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import Log
from everfold.streams.errors import ArchiveDamaged, Refused
from everfold.streams.events.event import Started
from everfold.streams.events.record import RawEntry
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.reader import log_size
from everfold.streams.redis.namespace import read_importing
from everfold.streams.retention.history import all_history
from everfold.streams.retention.importing import begin_import, import_entries, reopen
from everfold.streams.retention.trimming import trim
from tests.everfold.running import Everfold, ended, objects
from tests.projector.jobs import GRAPH, make_jobs, work
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def exported(everfold: Everfold, log: Log, file: Path, *, waiting: int) -> list[str]:
    """Export some ended jobs and some that wait; return those that wait."""
    await make_jobs(log, 5)
    await work(log)
    jobs = await make_jobs(log, waiting)
    await ended(everfold("archive", "export", str(file)))
    return jobs


async def test_a_killed_import_is_named_and_goes_on(
    everfold: Everfold, log: Log, server: OwnServer, tmp_path: Path
) -> None:
    file = tmp_path / "all.jsonl.gz"
    waiting = await exported(everfold, log, file, waiting=200)
    importing = ("archive", "import", str(file), "--namespace", "back")
    async with Log.open(server.url, namespace="back", partitions=log.keys.partitions) as watching:
        killed = everfold(*importing)

        async def begun() -> bool:
            return any([await log_size(watching, partition) for partition in range(24)])

        await eventually(begun, 20)
        killed.kill()
    async with Log.open(server.url, namespace="back") as back:
        assert await read_importing(back.redis, back.keys)
        with pytest.raises(Refused, match="is not finished: repeat it"):
            await back.submit(GRAPH)
        findings = await objects(everfold("doctor", "--namespace", "back", "--json"), code=1)
        assert [row["found"] for row in findings if row["what"] == "import"] == [
            "an import is not finished"
        ]
        held_by = {(await trim(back, p, 0, needs_archive=False)).held_by for p in range(24)}
        assert held_by == {"an unfinished import"}
        told = await ended(everfold(*importing))
        assert told[-1].endswith("200 jobs for a runner")
        assert [record async for record in all_history(back)] == [
            record async for record in all_history(log)
        ]
        assert (await verify(back)).is_sound
        assert {lease.job_id for lease in await work(back)} == set(waiting)
        assert (await back.submit(GRAPH)).created


async def test_a_repeated_import_leaves_jobs_as_they_are_by_now(
    everfold: Everfold, log: Log, server: OwnServer, tmp_path: Path
) -> None:
    file = tmp_path / "all.jsonl.gz"
    first, *others = await exported(everfold, log, file, waiting=3)
    end = check_export(file).end
    pages = defaultdict[int, list[RawEntry]](list)
    for item in read_export(file):
        if isinstance(item, tuple):
            pages[item[0]].append(item[1])
    async with Log.open(server.url, namespace="back", partitions=log.keys.partitions) as back:
        await begin_import(back, end.sha256)
        for partition, page in pages.items():
            await import_entries(back, partition, page)
        assert await reopen(back, first, b'{"1":{"class_type":"A","inputs":{}}}', 0)
        producer = Producer(back, "r")
        (lease,) = await producer.claim(most=10)
        await ended(everfold("archive", "import", str(file), "--namespace", "back"))
        await producer.append(lease, Started(attempt=1))
        job = await current(back, first)
        assert (job.owner, job.seq, job.epoch) == ("r", 3, 1)
        assert {lease.job_id for lease in await work(back)} == set(others)
        assert (await verify(back)).is_sound


async def test_a_pipe_is_refused_for_it_can_be_read_only_once(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    file, pipe = tmp_path / "all.jsonl.gz", tmp_path / "pipe"
    await exported(everfold, log, file, waiting=1)
    os.mkfifo(pipe)
    importing = everfold("archive", "import", str(pipe), "--namespace", "back")
    assert await ended(importing, code=2) == []
    assert "write it into one first" in "".join(importing.error_lines)


async def test_a_file_that_changes_after_it_was_checked_is_noticed(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    file, other = tmp_path / "all.jsonl.gz", tmp_path / "other.jsonl.gz"
    await exported(everfold, log, other, waiting=1)
    await exported(everfold, log, file, waiting=1)
    end = check_export(file).end
    assert len(list(read_export(file, end.sha256))) == end.events + 1  # the graph
    whole = file.read_bytes()
    for found in (other.read_bytes(), b"", gzip.compress(gzip.decompress(whole)[:-200])):
        file.write_bytes(found)
        with pytest.raises(ArchiveDamaged):
            list(read_export(file, end.sha256))


async def test_a_second_file_is_refused_while_the_first_is_not_finished(log: Log) -> None:
    await begin_import(log, "a" * 64)
    await begin_import(log, "a" * 64)
    with pytest.raises(Refused, match="is not empty"):
        await begin_import(log, "b" * 64)
    assert await read_importing(log.redis, log.keys) == b"a" * 64


async def test_an_export_replaces_no_link_and_is_for_its_user_alone(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    await make_jobs(log, 3)
    other, file = tmp_path / "other", tmp_path / "all.jsonl.gz"
    other.write_text("mine")
    for link in (file, tmp_path / "all.jsonl.gz.part"):
        link.symlink_to(other)
    await ended(everfold("archive", "export", str(file)))
    assert other.read_text() == "mine"
    assert not file.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o600
    assert sum(not isinstance(item, tuple) for item in read_export(file)) == 1  # the graph, once
    assert len(os.listdir(tmp_path)) == 3
    folder = tmp_path / "folder"
    folder.mkdir()
    refused = everfold("archive", "export", str(folder))
    await ended(refused, code=2)
    assert "cannot be written" in "".join(refused.error_lines)
