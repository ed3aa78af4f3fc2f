"""`everfold audit timeline` as people and programs meet it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.leases.backends import BackendEntry, note_backends
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms
from everfold.timeline.reading import Span, read_tracks
from tests.projector.jobs import add_raw, make_jobs, work
from tests.support.programs.programs import Program, StartProgram

pytestmark = pytest.mark.anyio

Timeline = Callable[..., Program]


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        yield log


@pytest.fixture
def timeline(start_program: StartProgram, log: Log) -> Timeline:
    names = {"REDIS_URL": log.url.reveal(), "EVERFOLD_NAMESPACE": log.keys.namespace}

    def start(*arguments: str) -> Program:
        return start_program("-m", "everfold", "audit", "timeline", *arguments, environ=names)

    return start


async def ended(program: Program, code: int = 0) -> list[str]:
    assert await program.end(within_s=60) == code, program
    assert not any("Traceback" in line for line in program.error_lines), program
    return program.lines


async def test_pictures_of_real_jobs_are_printed_and_written(
    timeline: Timeline, log: Log, tmp_path: Path
) -> None:
    assert await ended(timeline()) == ["no jobs found"]
    jobs = await make_jobs(log, 6)
    await work(log)
    await add_raw(log, jobs[0], 99, b'{"type":"job.teleported"}')
    printed = await ended(timeline())
    assert all(any(line.startswith(job_id[-8:]) for line in printed) for job_id in jobs)
    assert sum(line.endswith(" succeeded") and line[:8] in str(jobs) for line in printed) == 6
    assert printed[-2] == "6 jobs: 6 succeeded"
    assert printed[-1].startswith("wait p50 ")
    newest = await ended(timeline("--limit", "2"))
    assert newest[-2] == "2 jobs: 2 succeeded"
    grouped = await ended(timeline("--group-by", "user", "--since", "1h"))
    assert [line.split(":")[0] for line in grouped if line.startswith("user ")] == [
        *("user u0", "user u1", "user u2")
    ]
    assert all(len(line) <= 80 for line in printed)
    picture, traced = tmp_path / "a.svg", tmp_path / "a.json"
    told = await ended(timeline("--svg", str(picture), "--trace", str(traced), "--by", "backend"))
    assert [line.endswith(": 6 jobs") for line in told] == [True, True]
    assert Xml.parse(picture).getroot().tag.endswith("svg")
    assert {event["ph"] for event in json.loads(traced.read_text())["traceEvents"]} == {
        *("M", "X", "i")
    }


async def test_a_backend_has_the_name_that_people_gave_it(timeline: Timeline, log: Log) -> None:
    await make_jobs(log, 3)
    await work(log)
    [address] = {
        segment.backend
        for track in await read_tracks(log, (), Span(), None, await server_time_ms(log.redis))
        for segment in track.segments
        if segment.backend
    }
    await note_backends(log, [BackendEntry(name=address, seen_ms=1, title="gpu1")])
    printed = await ended(timeline("--by", "backend"))
    assert any(line.startswith("gpu1") for line in printed)
    told = await ended(timeline("--by", "backend", "--json"))
    assert {segment["backend"] for line in told for segment in json.loads(line)["segments"]} >= {
        address
    }


async def test_jobs_are_chosen_by_id_user_and_time(timeline: Timeline, log: Log) -> None:
    jobs = await make_jobs(log, 6)
    chosen = await ended(timeline(jobs[4], jobs[1], "--json"))
    assert [json.loads(line)["job_id"] for line in chosen] == [jobs[4], jobs[1]]
    of_user = await ended(timeline("--user", "u2", "--since", "10m", "--json"))
    assert {json.loads(line)["job_id"] for line in of_user} == {jobs[2], jobs[5]}
    assert await ended(timeline("--until", "2h")) == ["no jobs found"]


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("--since", "nonsense"), 2, "--since 'nonsense' is not a time"),
        (("0190a3f2-7b1c-7def-8000-000000000000",), 3, "there is no job"),
    ],
)
async def test_wrong_use_is_told_in_a_sentence(
    timeline: Timeline, arguments: tuple[str, ...], code: int, why: str
) -> None:
    refused = timeline(*arguments)
    await ended(refused, code)
    assert why in "".join(refused.error_lines)
    assert len(refused.error_lines) == 1


async def test_a_file_that_cannot_be_written_is_told_in_a_sentence(
    timeline: Timeline, log: Log, tmp_path: Path
) -> None:
    await make_jobs(log, 1)
    refused = timeline("--svg", str(tmp_path / "missing" / "a.svg"))
    await ended(refused, code=2)
    assert "cannot be written: No such file or directory" in "".join(refused.error_lines)


async def test_an_entry_that_is_not_everfolds_is_left_out(log: Log) -> None:
    [job_id] = await make_jobs(log, 1)
    for partition in range(2):
        await command(log.redis, "XADD", log.keys.log(partition), "*", "strange", "entry")
    tracks = await read_tracks(log, [], Span(), None, await server_time_ms(log.redis))
    assert [track.job_id for track in tracks] == [job_id]


async def test_a_job_is_drawn_as_it_was_at_the_end_of_the_span(log: Log) -> None:
    [job_id] = await make_jobs(log, 1)
    [waiting] = await read_tracks(log, [job_id], Span(), None, 0)
    until_ms = waiting.start_ms
    while await server_time_ms(log.redis) == until_ms:
        pass
    await work(log)
    now_ms = await server_time_ms(log.redis)
    [then] = await read_tracks(log, [], Span(None, until_ms), None, now_ms)
    [now] = await read_tracks(log, [], Span(), None, now_ms)
    assert (then.status, now.status) == ("queued", "succeeded")
