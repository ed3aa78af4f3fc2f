"""`jobs cancel|rerun` of many jobs, `batches`, and short ids, as people meet them."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.events.event import Failed, Failure
from everfold.streams.leases.producer import Producer
from tests.everfold.running import Everfold, ended, objects
from tests.projector.jobs import caught_up, projecting, work
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

FAST = str(Path(__file__).parents[2] / "data" / "workflows" / "fast_success.json")
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {"width": 64}}}


async def fail_all(log: Log) -> None:
    failure = Failure(code="out_of_memory", message="no room")
    for lease in await work(log, steps=1, finish=False):
        await Producer(log, "r").finish(lease, Failed(failure=failure, attempt=1))


async def test_many_jobs_are_shown_first_and_acted_on_with_yes(
    everfold: Everfold, log: Log
) -> None:
    async with projecting(log):
        for i in range(7):
            await log.submit(GRAPH, user="ada", kind=f"k{i % 2}", batch="july")
        await fail_all(log)
        await eventually(lambda: caught_up(log))
        lines = await ended(everfold("jobs", "rerun", "--user", "ada", "--kind", "k0"))
        assert lines[-1] == "4 jobs selected, nothing done: add --yes to rerun them"
        assert len(lines) == 5
        assert "failed" in lines[0]
        assert len(await objects(everfold("jobs", "ls", "--json"))) == 7
        asked = ("jobs", "rerun", "--user", "ada", "--code", "out_of_memory", "--yes")
        assert (await ended(everfold(*asked)))[-1] == "7 jobs selected: rerun 7"
        assert (await ended(everfold(*asked)))[-1] == "7 jobs selected: already rerun 7"
        await eventually(lambda: caught_up(log))
        [told] = await objects(everfold("batches", "ls", "--json"))
        assert told["by_status"] == {"queued": 7, "failed": 7}
        lines = await ended(everfold("batches", "cancel", "july", "--yes"))
        assert lines[-1] == "7 jobs selected: canceled 7"
        await eventually(lambda: caught_up(log))
        lines = await ended(everfold("batches", "wait", "july"), code=1)
        assert lines == ["july: failed 7, canceled 7"]
        lines = await ended(everfold("batches", "show", "july"))
        assert lines[0].startswith("july: 14 of 14 jobs ended, 100 %")
        assert await ended(everfold("jobs", "cancel", "--batch", "july", "--yes")) == [
            "no job is selected"
        ]
        lines = await ended(everfold("audit", "acts"))
        assert any("cancel jobs" in line for line in lines)
    await ended(everfold("batches", "show", "august"), code=3)
    await ended(everfold("jobs", "cancel"), code=2)
    await ended(everfold("jobs", "rerun", "x", "--user", "ada"), code=2)


async def test_a_part_of_an_id_is_enough_for_every_command(everfold: Everfold, log: Log) -> None:
    async with projecting(log):
        job_id = (await log.submit(GRAPH, tags=["t"], metadata={"order": 17})).job_id
        await log.submit(GRAPH)
        await fail_all(log)
        await eventually(lambda: caught_up(log))
        end = job_id[-8:]
        for command in (
            ("jobs", "show", end),
            ("jobs", "outputs", end),
            ("events", end),
            ("audit", "show", end),
            ("jobs", "cancel", end),
        ):
            printed = await ended(everfold(*command))
            assert printed
            assert command[1] in ("outputs", "show") or any(job_id in line for line in printed)
        await ended(everfold("jobs", "wait", end), code=1)
        lines = await ended(everfold("audit", "timeline", end))
        assert any(end in line for line in lines)
        [made] = await objects(everfold("jobs", "rerun", end, "--set", "1.width=32", "--json"))
        assert made["rerun_of"] == job_id
        await ended(everfold("jobs", "rerun", end, "--set", "1.widht=32"), code=2)
        tagged = ("jobs", "ls", "--tag", "t", "--status", "failed", "--json")
        [found] = await objects(everfold(*tagged))
        assert found["job_id"] == job_id
        rows = await objects(everfold("jobs", "ls", "--metadata", "order=17", "--json"))
        assert {row["job_id"] for row in rows} == {job_id, made["job_id"]}
        await ended(everfold("jobs", "show", job_id[:6]), code=2)


async def test_a_job_is_submitted_with_batch_and_tags(everfold: Everfold, log: Log) -> None:
    arguments = ("submit", FAST, "--batch", "b", "--tag", "x", "--tag", "y", "--json")
    [made] = await objects(everfold(*arguments))
    [told] = await objects(everfold("jobs", "show", str(made["job_id"]), "--json"))
    assert (told["batch"], told["tags"]) == ("b", ["x", "y"])
    await ended(everfold("submit", FAST, "--batch", "no name"), code=2)
