"""History that leaves a namespace: replays, exports, and imports that bring it back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import cast

import anyio
import pytest

from everfold.archives.export_file import check_export, read_export
from everfold.projector.reading.queries import current
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.folder import Folder
from everfold.streams.events.event import CancelRequested, Policy
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.history import all_history
from everfold.streams.retention.importing import begin_import, import_entries
from tests.everfold.running import Everfold, ended
from tests.projector.jobs import GRAPH, add_raw, assert_projected, make_jobs, projecting, work
from tests.support.servers import OwnServer

pytestmark = pytest.mark.anyio


async def ended_jobs(log: Log, count: int = 12) -> list[str]:
    jobs = await make_jobs(log, count)
    await work(log)
    async with projecting(log):
        await assert_projected(log, jobs)
    return jobs


async def test_history_is_replayed_into_another_namespace_and_into_a_file(
    everfold: Everfold, log: Log, server: OwnServer, tmp_path: Path
) -> None:
    jobs = await ended_jobs(log)
    await ended(everfold("archive", "run", "--archive", str(tmp_path / "a"), "--everything"))
    await ended(everfold("archive", "trim", "--retention", "0"))
    jobs += await make_jobs(log, 2)
    told = await ended(everfold("audit", "replay", "--to", "trial"))
    assert told[-1] == "122 events replayed to trial"
    async with Log.open(server.url, namespace="trial") as trial, projecting(trial):
        await assert_projected(trial, jobs)
        again = [event.payload for event in await job_events(trial, jobs[0])]
    file = tmp_path / "ada.jsonl"
    await ended(everfold("audit", "replay", "--to", str(file), "--job", jobs[0]))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [json.loads(payload) for payload in again] == [line["event"] for line in lines]
    refused = everfold("audit", "replay", "--to", "everfold")
    await ended(refused, code=2)
    assert "--into-live" in "".join(refused.error_lines)
    await ended(everfold("audit", "replay", "--to", "other", "--speed", "fast"), code=2)


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (b'{"type":"job.teleported","id":"x","actor":"y","v":1}',
         {"type": "job.teleported", "id": "x", "actor": "y", "v": 1}),
        (b'{"type":\xff', '{"type":\ufffd'),
    ],
)  # fmt: skip
async def test_an_event_that_nobody_can_read_is_replayed_as_it_is_listed(
    everfold: Everfold, log: Log, tmp_path: Path, payload: bytes, event: object
) -> None:
    (job_id,) = await make_jobs(log, 1)
    await add_raw(log, job_id, 2, payload)
    file = tmp_path / "all.jsonl"
    await ended(everfold("audit", "replay", "--to", str(file)))
    _, odd = file.read_text().splitlines()
    assert json.loads(odd)["event"] == event


async def test_a_replay_keeps_the_rhythm(everfold: Everfold, log: Log) -> None:
    await make_jobs(log, 1)
    await anyio.sleep(2)
    await make_jobs(log, 1)
    started_s = anyio.current_time()
    await ended(everfold("audit", "replay", "--to", "trial", "--speed", "1x"))
    assert anyio.current_time() - started_s >= 2


async def test_a_namespace_goes_into_a_file_and_comes_back_the_same(
    everfold: Everfold, log: Log, server: OwnServer, tmp_path: Path
) -> None:
    jobs = await ended_jobs(log)
    await ended(everfold("archive", "run", "--archive", str(tmp_path / "a"), "--everything"))
    await ended(everfold("archive", "trim", "--retention", "0"))
    waiting = await make_jobs(log, 2)
    whole = [record async for record in all_history(log, Archive(Folder(str(tmp_path / "a"))))]
    file = str(tmp_path / "all.jsonl.gz")
    told = await ended(everfold("archive", "export", file))
    assert told[-1].startswith("122 events written")
    told = await ended(everfold("archive", "import", file, "--namespace", "back"))
    assert told[-1] == "122 events imported into back, 2 jobs for a runner"
    async with Log.open(server.url, namespace="back") as back:
        assert [record async for record in all_history(back)] == whole
        async with projecting(back):
            await assert_projected(back, [*jobs, *waiting])
        report = await verify(back)
        assert [str(found) for found in report.differences] == []
        leases = await work(back)
        assert {lease.job_id for lease in leases} == set(waiting)
        graph = await back.workflow(waiting[0], (await current(back, waiting[0])).workflow)
        assert graph is not None
    refused = everfold("archive", "import", file, "--namespace", "back")
    await ended(refused, code=2)
    assert "is not empty" in "".join(refused.error_lines)


async def test_an_interrupted_import_goes_on_and_a_damaged_file_is_refused_whole(
    everfold: Everfold, log: Log, server: OwnServer, tmp_path: Path
) -> None:
    jobs = await ended_jobs(log, 3)
    file = tmp_path / "three.jsonl.gz"
    await ended(everfold("archive", "export", str(file)))
    end = check_export(file).end
    async with Log.open(server.url, namespace="back", partitions=log.keys.partitions) as back:
        await begin_import(back, end.sha256)
        partition = back.keys.partition_of(jobs[0])
        entries = [item[1] for item in read_export(file) if isinstance(item, tuple)]
        mine = [e for e in entries if back.keys.partition_of(e[1][1].decode()) == partition]
        assert await import_entries(back, partition, mine[:4]) == 4
        await ended(everfold("archive", "import", str(file), "--namespace", "back"))
        assert len(await job_events(back, jobs[0])) == 10
    damaged = tmp_path / "damaged.jsonl.gz"
    damaged.write_bytes(file.read_bytes()[:-40])
    refused = everfold("archive", "import", str(damaged), "--namespace", "third")
    await ended(refused, code=1)
    assert "damaged" in "".join(refused.error_lines)


async def test_some_jobs_are_exported_whole(everfold: Everfold, log: Log, tmp_path: Path) -> None:
    await ended_jobs(log, 9)
    file = str(tmp_path / "u1.jsonl.gz")
    assert (await ended(everfold("archive", "export", file, "--user", "u1")))[-1].startswith("30 ")


async def test_imported_jobs_wait_in_the_order_of_their_submits(
    everfold: Everfold, log: Log, server: OwnServer, tmp_path: Path
) -> None:
    graphs = [{"1": {"class_type": "EmptyImage", "inputs": {"width": n % 3}}} for n in range(24)]
    jobs = [(await log.submit(graph, user="ada")).job_id for graph in graphs]
    file = str(tmp_path / "waiting.jsonl.gz")
    await ended(everfold("archive", "export", file))
    await ended(everfold("archive", "import", file, "--namespace", "back"))
    async with Log.open(server.url, namespace="back") as back:
        producer = Producer(back, "r")
        claimed = [(await producer.claim())[0].job_id for _ in jobs]
        times = [(await job_events(log, job_id))[0].time_ms for job_id in claimed]
        assert times == sorted(times)
        for job_id in jobs:
            name = back.keys.workflow(
                back.keys.partition_of(job_id), (await current(back, job_id)).stored
            )
            assert await command(back.redis, "PTTL", name) == -1


async def test_imported_jobs_keep_their_deadlines_and_cancels(
    everfold: Everfold, log: Log, server: OwnServer, tmp_path: Path
) -> None:
    bounded = (await log.submit(GRAPH, policy=Policy(queue_deadline_s=900))).job_id
    later_ms = int(time.time() * 1000) + 3_600_000
    later = (
        await log.submit(GRAPH, policy=Policy(queue_deadline_s=900), run_at_ms=later_ms)
    ).job_id
    canceling = (await log.submit(GRAPH)).job_id
    await log.append(canceling, CancelRequested(reason="away"), epoch=UNLEASED)
    [free] = await make_jobs(log, 1)
    expected = [await deadline(log, job_id) for job_id in (bounded, later, canceling, free)]
    assert expected[3] is None
    file = str(tmp_path / "waiting.jsonl.gz")
    await ended(everfold("archive", "export", file))
    await ended(everfold("archive", "import", file, "--namespace", "back"))
    async with Log.open(server.url, namespace="back") as back:
        for job_id, at_ms in zip((bounded, later, canceling), expected[:3], strict=True):
            assert at_ms == pytest.approx(await deadline(back, job_id), abs=100)
        assert await deadline(back, free) is None


async def deadline(log: Log, job_id: str) -> float | None:
    """Return the time from which a job that waits is ended, Unix ms."""
    key = log.keys.deadlines(log.keys.partition_of(job_id))
    score = await command(log.redis, "ZSCORE", key, job_id)
    return None if score is None else float(cast("bytes", score))


@pytest.mark.parametrize(
    "command", [("archive", "export", "one.jsonl"), ("audit", "replay", "--to", "one.jsonl")]
)
async def test_one_job_is_named_by_a_part_of_its_id_and_a_good_file_outlives_a_wrong_name(
    everfold: Everfold, log: Log, tmp_path: Path, command: tuple[str, ...]
) -> None:
    job_id, *_ = await ended_jobs(log, 2)
    file = tmp_path / command[-1]
    words = (*command[:-1], str(file), "--job")
    assert (await ended(everfold(*words, job_id[-6:])))[-1].startswith("10 events")
    good = file.read_bytes()

    unknown = everfold(*words, "nobody-knows-it")
    await ended(unknown, code=3)
    assert "there is no job 'nobody-knows-it'" in "".join(unknown.error_lines)
    empty = everfold(*words, "")
    await ended(empty, code=2)
    assert empty.error_lines == ["everfold: --job is empty: give it a value, or leave it out"]
    assert file.read_bytes() == good


async def test_a_replay_of_an_unknown_job_makes_no_namespace(everfold: Everfold, log: Log) -> None:
    await ended_jobs(log, 1)
    await ended(everfold("audit", "replay", "--to", "trial", "--job", "nobody"), code=3)
    unmade = everfold("jobs", "ls", "--namespace", "trial")
    await ended(unmade, code=2)
    assert "trial" in "".join(unmade.error_lines)
