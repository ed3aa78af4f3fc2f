"""`everfold projector ...` as people and programs meet it."""

from __future__ import annotations

import json
import signal

import pytest

from everfold.projector.job.state import from_fields
from everfold.streams.appending.log import Log
from everfold.streams.events.event import CancelRequested
from everfold.streams.redis.redis_errors import command, read_hash
from tests.everfold.running import Everfold, ended
from tests.projector.jobs import add_raw, make_jobs, work
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

STRANGE = b'{"type":"job.teleported","id":"x","actor":"y","v":1}'
PER_HOUR = "examples.jobs_per_hour:PER_HOUR"


async def test_status_shows_every_partition_and_what_it_is_behind(
    everfold: Everfold, log: Log
) -> None:
    await make_jobs(log, 12)
    rows = [json.loads(line) for line in await ended(everfold("projector", "status", "--json"))]
    assert [row["partition"] for row in rows] == list(range(24))
    assert sum(row["behind_events"] for row in rows) == 12
    assert {row["owner"] for row in rows} == {""}
    running = everfold("projector")
    await running.line("projector")

    async def is_caught_up() -> bool:
        told = await ended(everfold("projector", "status", "--json"))
        return all(json.loads(line)["behind_events"] == 0 for line in told)

    await eventually(is_caught_up, 30)
    shown = await ended(everfold("projector", "status"))
    assert len(shown) == 25
    assert "lag" in shown[0]
    assert all("projector-" in line for line in shown[1:])


async def test_live_status_goes_on_until_it_is_interrupted(everfold: Everfold, log: Log) -> None:
    live = everfold("projector", "status", "--live")
    await live.line("partition", within_s=20)
    live.send(signal.SIGINT)
    await ended(live)


async def test_rebuild_mends_the_states(everfold: Everfold, log: Log) -> None:
    jobs = await make_jobs(log, 5)
    await work(log)
    assert "swapped in" in (await ended(everfold("projector", "rebuild")))[-1]
    await command(log.redis, "HSET", log.keys.job(jobs[0]), "status", "nonsense")
    [told] = [json.loads(x) for x in await ended(everfold("projector", "rebuild", "--json"))]
    assert (told["events"], told["parked"]) == (5 * 10, 0)
    state = from_fields(await read_hash(log.redis, log.keys.job(jobs[0])))
    assert state is not None
    assert state.status == "succeeded"


async def test_parked_jobs_are_listed_retried_and_skipped(everfold: Everfold, log: Log) -> None:
    [job_id] = await make_jobs(log, 1)
    await add_raw(log, job_id, 2, STRANGE)
    await log.append(job_id, CancelRequested(), epoch=0)
    running = everfold("projector")
    await running.line("projector")

    async def is_parked() -> bool:
        return job_id in "".join(await ended(everfold("projector", "parked", "ls")))

    await eventually(is_parked, 30)
    [parked] = [json.loads(x) for x in await ended(everfold("projector", "parked", "ls", "--json"))]
    assert parked["parked"]["seq"] == 2
    told = await ended(everfold("projector", "parked", "retry", job_id), code=1)
    assert "parked again" in told[-1]
    told = await ended(everfold("projector", "parked", "skip", job_id))
    assert "folded again" in told[-1]
    assert await ended(everfold("projector", "parked", "ls")) == ["no job is parked"]
    [shown] = await ended(everfold("jobs", "show", job_id, "--json"))
    assert json.loads(shown)["status"] == "canceling"
    refused = everfold("projector", "parked", "skip", job_id)
    await ended(refused, code=3)
    assert "is not parked" in "".join(refused.error_lines)


async def test_a_projection_of_ones_own_runs_is_shown_and_rebuilt(
    everfold: Everfold, log: Log
) -> None:
    await make_jobs(log, 6)
    running = everfold("projector", "--projection", PER_HOUR)
    await running.line("projector")

    async def counted() -> bool:
        told = await ended(everfold("projector", "show", PER_HOUR, "--json"))
        return sum(int(json.loads(line)["state"]["submitted"]) for line in told) == 6

    await eventually(counted, 30)
    await work(log)
    told = await ended(everfold("projector", "rebuild", "--projection", PER_HOUR))
    assert told[-1].startswith("jobs-per-hour: 60 events folded")
    told = await ended(everfold("projector", "show", PER_HOUR, "--json"))
    assert sum(json.loads(line)["state"]["succeeded"] for line in told) == 6
    told = await ended(everfold("projector", "status", "--projection", PER_HOUR, "--json"))
    assert len(told) == 24


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("nonsense", "write module:name"),
        ("no.such.module:X", "cannot be imported"),
        ("examples.jobs_per_hour:NOTHING", "has no 'NOTHING'"),
        ("examples.jobs_per_hour:key", "has a function as 'key'"),
    ],
)
async def test_a_projection_that_cannot_be_loaded_is_told_in_a_sentence(
    everfold: Everfold, place: str, why: str
) -> None:
    refused = everfold("projector", "show", place)
    await ended(refused, code=2)
    assert why in "".join(refused.error_lines)
