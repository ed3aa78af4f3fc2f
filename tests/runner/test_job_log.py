"""Events of a job that are sent without waiting: in their order, once, and told again where the
log had no place for them."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.runner.execution.job_log import SENT_LIMIT, JobLog
from everfold.runner.telemetry.job_lines import JobLines
from everfold.runner.telemetry.span_reporter import SpanReporter
from everfold.streams.appending.log import Log
from everfold.streams.errors import Fenced
from everfold.streams.events.event import (
    CancelRequested,
    Event,
    Progressed,
    Queued,
    Started,
    Submitting,
    Succeeded,
)
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
INTENT = Submitting(attempt=1, backend="gpu", boot="b", prompt_id="p", client_id="c")
QUEUED, STARTED = Queued(attempt=1, prompt_id="p"), Started(attempt=1)
DONE = Succeeded(attempt=1, outputs={})


class Held:
    """A job that is held, with its JobLog."""

    def __init__(self, log: Log, job_log: JobLog) -> None:
        self.log, self.job_log, self.refused = log, job_log, 0

    def note_refused(self) -> None:
        self.refused += 1

    @property
    def job_id(self) -> str:
        return self.job_log.lease.job_id

    async def told(self) -> list[str]:
        """Return the types of the events that the log has, after the claim."""
        records = await job_events(self.log, self.job_id)
        return [type(record.event).__name__ for record in records[2:]]


async def hold(log: Log) -> Held:
    await log.submit(GRAPH)
    dispatch = Dispatch(log, "anna")
    [lease] = await dispatch.claim(0, ["default"], 1)
    held: list[Held] = []

    def now_ms() -> int:
        return held[0].job_log.acknowledged.updated_at_ms

    told = (JobLines("anna", lambda _: ""), SpanReporter(log))
    job_log = JobLog(log, dispatch, lease, *told, now_ms, lambda: held[0].note_refused())
    held.append(Held(log, job_log))
    await job_log.append(INTENT)
    return held[0]


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


@pytest.fixture
async def held(log: Log) -> Held:
    return await hold(log)


async def test_what_is_sent_counts_at_once_and_is_acknowledged_with_the_next_event(
    held: Held,
) -> None:
    before = held.job_log.acknowledged
    await held.job_log.append_soon(QUEUED)
    await held.job_log.append_soon(STARTED)
    assert held.job_log.acknowledged is before
    assert (held.job_log.job.status, held.job_log.job.seq) == ("running", before.seq + 2)
    ended = await held.job_log.append(DONE)
    assert ended == held.job_log.job == held.job_log.acknowledged
    assert await held.told() == ["Submitting", "Queued", "Started", "Succeeded"]
    assert held.refused == 0


async def test_all_of_it_travels_in_one_call(held: Held) -> None:
    async def calls() -> int:
        stats = await command(held.log.redis, "INFO", "commandstats")
        assert isinstance(stats, bytes)
        line = next(line for line in stats.split(b"\r\n") if line.startswith(b"cmdstat_evalsha:"))
        return int(line.split(b"calls=")[1].split(b",")[0])

    before = await calls()
    for event in (QUEUED, STARTED):
        await held.job_log.append_soon(event)
    await held.job_log.append(DONE)
    assert await calls() == before + 1


async def test_a_state_is_the_fold_of_the_log(held: Held) -> None:
    for number in range(3 * SENT_LIMIT):
        await held.job_log.append_soon(
            Progressed(attempt=1, value=number / 100, nodes_done=1, nodes_total=9)
        )
    await held.job_log.flush()
    seen = held.job_log.job
    assert seen == held.job_log.acknowledged == await held.job_log.catch_up()
    assert seen.seq == 3 + 3 * SENT_LIMIT


@pytest.mark.parametrize("ahead", [[QUEUED], [QUEUED, STARTED]])
async def test_a_cancel_that_comes_between_costs_no_event_and_is_seen(
    held: Held, ahead: list[Event]
) -> None:
    await held.log.append(held.job_id, CancelRequested(reason="enough"), epoch=0)
    for event in ahead:
        await held.job_log.append_soon(event)
    await eventually(lambda: held.refused > 0)
    await held.job_log.refresh()
    assert held.job_log.job.is_canceling
    assert held.job_log.job == held.job_log.acknowledged
    told = await held.told()
    names = [type(event).__name__ for event in ahead]
    assert sorted(told) == sorted(["Submitting", "CancelRequested", *names])
    await held.job_log.append(DONE)
    assert held.job_log.job.status == "succeeded"


async def test_an_end_behind_what_found_no_place_ends_the_job_once(held: Held) -> None:
    await held.log.append(held.job_id, CancelRequested(reason="enough"), epoch=0)
    await held.job_log.append_soon(QUEUED)
    ended = await held.job_log.append(DONE)
    assert ended.status == "succeeded"
    assert (await held.told()).count("Succeeded") == 1


async def test_a_runner_that_was_replaced_learns_it_although_it_waited_for_nothing(
    held: Held,
) -> None:
    lease = held.job_log.lease
    normal = (lease.queue, lease.priority)
    _, [taken] = await Dispatch(held.log, "bert").take_over(0, normal, idle_limit_s=0)
    assert taken.job_id == lease.job_id
    await held.job_log.append_soon(QUEUED)
    await eventually(lambda: held.refused > 0)
    with pytest.raises(Fenced):
        await held.job_log.refresh()
    assert held.job_log.job == held.job_log.acknowledged
    assert "Queued" not in await held.told()


async def test_nobody_is_told_of_a_refusal_twice(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    lease = held.job_log.lease
    normal = (lease.queue, lease.priority)
    await Dispatch(held.log, "bert").take_over(0, normal, idle_limit_s=0)
    await held.job_log.append_soon(QUEUED)
    with pytest.raises(Fenced):
        await held.job_log.append(DONE)
    await anyio.wait_all_tasks_blocked()
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_server_that_stands_still_holds_nobody_up_until_the_end(
    own_server: StartServer,
) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="still", partitions=1) as log:
        held = await hold(log)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with anyio.fail_after(5):
                await held.job_log.append_soon(QUEUED)
                await held.job_log.append_soon(STARTED)
            assert held.job_log.job.status == "running"
            with anyio.move_on_after(0.2) as waiting:
                await held.job_log.append(DONE)
            assert waiting.cancelled_caught
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await held.job_log.flush()
        assert await held.told() == ["Submitting", "Queued", "Started", "Succeeded"]
