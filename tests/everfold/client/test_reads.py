"""What a client has seen it never un-sees, however far behind the projector is; lists say so."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import anyio
import pytest

from everfold.client import Everfold
from everfold.projector.job.job import Job
from everfold.projector.reading.watching import Watcher
from everfold.streams.appending.log import Log
from everfold.streams.errors import LeaseLost
from everfold.streams.events.event import Progressed, Started, Submitting, Succeeded
from everfold.streams.leases.producer import Producer
from tests.support.programs.programs import Program, StartProgram
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "A", "inputs": {}}}
OUTPUTS: dict[str, dict[str, object]] = {"3": {"images": [{"filename": "a.png"}]}}


@pytest.fixture
async def everfold(redis_url: str, namespace: str) -> AsyncIterator[Everfold]:
    async with Everfold.connect(redis_url, namespace=namespace, partitions=4) as everfold:
        await everfold.log.make()
        yield everfold


@pytest.fixture
def places(redis_url: str, namespace: str) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "EVERFOLD_NAMESPACE": namespace}


async def start_projector(start: StartProgram, places: dict[str, str]) -> Program:
    program = start("-m", "everfold", "projector", environ=places)
    await program.line("projector", within_s=20)
    return program


async def run_all(log: Log, count: int) -> None:
    """Work on jobs until `count` have ended, ten at a time."""
    producer, ended = Producer(log, "load"), 0
    while ended < count:
        for lease in await producer.claim(10, wait_s=5):
            with_place = Submitting(attempt=1, backend="b", boot="", prompt_id="p", client_id="c")
            try:
                await producer.append(lease, with_place)
                await producer.append(lease, Started(attempt=1))
                for part in range(5):
                    progress = Progressed(attempt=1, value=part / 5, nodes_done=part, nodes_total=5)
                    await producer.append(lease, progress)
                await producer.finish(lease, Succeeded(attempt=1, outputs=OUTPUTS))
            except LeaseLost:
                continue
            ended += 1


async def stutter(projector: Program) -> None:
    """Let the projector work for a moment at a time only."""
    while projector.exit_code is None:
        projector.send(signal.SIGSTOP)
        await anyio.sleep(0.3)
        projector.send(signal.SIGCONT)
        await anyio.sleep(0.05)


@pytest.mark.parametrize("is_killed", [False, True], ids=["slow", "killed"])
async def test_reads_are_as_new_as_what_was_seen(
    everfold: Everfold, start_program: StartProgram, places: dict[str, str], is_killed: bool
) -> None:
    projector = await start_projector(start_program, places)
    count = 200
    jobs = [(await everfold.submit(GRAPH, user=f"u{n % 2}")).job_id for n in range(count)]
    older: list[str] = []

    async def look(job_id: str, number: int) -> None:
        if number % 2:
            seen = await everfold.wait(job_id, 60)
        else:
            async for seen in everfold.watch(job_id):
                if (await everfold.get(job_id)).seq < seen.seq:
                    older.append(f"get {seen.seq}")
        if (await everfold.get(job_id)).seq < seen.seq:
            older.append("get")
        if await everfold.outputs(job_id) != OUTPUTS:
            older.append("outputs")
        if number % 10 < 2:
            page = await everfold.list(statuses=["succeeded"], limit=1000)
            older.extend([] if job_id in [job.job_id for job in page.jobs] else ["list"])
            page = await everfold.list(statuses=["queued", "running"], limit=1000)
            older.extend(["list, still open"] if job_id in [j.job_id for j in page.jobs] else [])

    async with anyio.create_task_group() as tasks:
        if is_killed:
            projector.kill()
        else:
            tasks.start_soon(stutter, projector)
        async with anyio.create_task_group() as looks:
            looks.start_soon(run_all, everfold.log, count)
            for number, job_id in enumerate(jobs):
                looks.start_soon(look, job_id, number)
        tasks.cancel_scope.cancel()
    assert older == []


async def test_pages_list_what_was_seen_once_each_in_order(everfold: Everfold) -> None:
    """No projector has ever run, so all comes from what the client has seen."""
    jobs = [(await everfold.submit(GRAPH, kind=f"k{n % 3}")).job_id for n in range(25)]
    await everfold.cancel(jobs[3])
    found: list[Job] = []
    cursor: str | None = None
    while True:
        page = await everfold.list(limit=7, cursor=cursor)
        found += page.jobs
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(job.job_id for job in found) == sorted(jobs)
    # The last submit and the cancel may be of one millisecond: then their ids decide.
    order = [(job.updated_at_ms, job.job_id) for job in found]
    assert order == sorted(order, reverse=True)
    assert (await everfold.get(jobs[3])).updated_at_ms == found[0].updated_at_ms
    assert page.behind_s > 0
    canceled = await everfold.list(statuses=["canceled"])
    assert [job.job_id for job in canceled.jobs] == [jobs[3]]
    assert len((await everfold.list(kind="k1")).jobs) == 8
    assert (await everfold.list(newer_than=datetime(2100, 1, 1, tzinfo=UTC))).jobs == []


async def test_a_list_says_how_far_behind_it_is(
    everfold: Everfold, start_program: StartProgram, places: dict[str, str]
) -> None:
    job_id = (await everfold.submit(GRAPH)).job_id

    async def ls(*options: str) -> Program:
        program = start_program("-m", "everfold", "jobs", "ls", *options, environ=places)
        assert await program.end(30) == 0
        return program

    for options in ((), ("--json",)):
        empty = await ls(*options)
        assert "behind" in "\n".join(empty.error_lines)
        assert job_id not in "\n".join(empty.lines)
        assert "no jobs" not in empty.lines
    async with Watcher(everfold.log) as watcher:
        page = await Everfold(everfold.log, watcher).list()
    assert (page.jobs, page.behind_s > 0) == ([], True)
    projector = await start_projector(start_program, places)

    async def is_whole() -> bool:
        return (await everfold.list()).behind_s == 0

    await eventually(is_whole, 20)
    whole = await ls()
    assert job_id in "\n".join(whole.lines)
    assert whole.error_lines == []
    projector.kill()
    await everfold.submit(GRAPH)
    await anyio.sleep(0.6)  # longer than a projector that works would need
    assert "projector run?" in "\n".join((await ls()).error_lines)
