"""A part of an id finds its job, however many there are; what is not clear is said."""

from __future__ import annotations

import pytest

from everfold.projector.config import ProjectorConfig
from everfold.projector.reading.short_ids import find_job_id
from everfold.streams.appending.log import Log
from everfold.streams.errors import InvalidName
from tests.projector.jobs import GRAPH, all_gone, caught_up, make_jobs, projecting, work
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_a_job_is_found_by_either_end_of_its_id(log: Log) -> None:
    async with projecting(log):
        jobs = await make_jobs(log, 30)
        await work(log)
        jobs += await make_jobs(log, 30)
        await eventually(lambda: caught_up(log))
    for job_id in jobs:
        assert await find_job_id(log, job_id) == job_id
        assert await find_job_id(log, job_id[-10:]) == job_id
        assert await find_job_id(log, job_id[:25]) == job_id


async def test_several_jobs_are_named_with_status_and_age(log: Log) -> None:
    async with projecting(log):
        for name in ("order-170", "order-171", "a-order"):
            await log.submit(GRAPH, job_id=name)
        await eventually(lambda: caught_up(log))
    with pytest.raises(InvalidName) as raised:
        await find_job_id(log, "order")
    lines = str(raised.value).split("\n")
    assert [line.partition(",")[0] for line in lines[1:]] == [
        *("a-order queued", "order-170 queued", "order-171 queued")
    ]
    assert await find_job_id(log, "r-17") == "r-17", "the middle of an id finds nothing"
    assert await find_job_id(log, "order-170") == "order-170"


async def test_many_candidates_are_not_all_named(log: Log) -> None:
    async with projecting(log):
        for i in range(40):
            await log.submit(GRAPH, job_id=f"order-{i}")
        await eventually(lambda: caught_up(log))
    with pytest.raises(InvalidName, match="and more") as raised:
        await find_job_id(log, "order")
    assert str(raised.value).count("\n") < 12


async def test_an_id_that_is_whole_stands_for_itself(log: Log) -> None:
    async with projecting(log):
        for name in ("a1", "job-1", "job-12"):
            await log.submit(GRAPH, job_id=name)
        await eventually(lambda: caught_up(log))
    assert await find_job_id(log, "job-1") == "job-1"
    assert await find_job_id(log, "a1") == "a1"
    with pytest.raises(InvalidName, match="at least 4"):
        await find_job_id(log, "b1")
    assert await find_job_id(log, "nobody") == "nobody"


async def test_a_job_whose_state_has_expired_is_found_by_its_whole_id_alone(log: Log) -> None:
    async with projecting(log, config=ProjectorConfig(terminal_ttl_s=0.2)):
        [job_id] = await make_jobs(log, 1)
        await work(log)
        await eventually(lambda: all_gone(log, [job_id]))
        await make_jobs(log, 20)
        await work(log, finish=False)
        await eventually(lambda: caught_up(log))
    assert await find_job_id(log, job_id) == job_id


@pytest.mark.parametrize("text", ["", 7, None])
async def test_what_is_no_text_is_refused(log: Log, text: object) -> None:
    with pytest.raises(InvalidName):
        await find_job_id(log, text)  # type: ignore[arg-type]
