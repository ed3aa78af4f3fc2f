"""The producer example as real processes: it is killed, frozen, canceled and cut off."""

from __future__ import annotations

import signal
from itertools import pairwise

import pytest
from anyio.to_thread import run_sync

from everfold.streams.appending.log import Log
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Progressed,
    Recovered,
    Succeeded,
)
from everfold.streams.events.ids import job_id_for
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events
from tests.support.programs.programs import Program, StartProgram
from tests.support.servers import OwnServer, StartServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(own_server: StartServer) -> OwnServer:
    # With everysec a killed server can lose what it acknowledged while it was busy with an fsync.
    return own_server(appendfsync="always")


def counter(start: StartProgram, server: OwnServer, step_s: float) -> Program:
    environ = {"REDIS_URL": server.url, "LEASE_TTL_S": "1", "STEP_S": str(step_s)}
    return start("-m", "examples.producer", "order-17", environ=environ)


async def history(server: OwnServer) -> list[Recorded]:
    async with Log.open(server.url) as log:
        return await job_events(log, job_id_for(log.generation, "", "order-17"))


def steps(records: list[Recorded]) -> list[int]:
    return [r.event.nodes_done for r in records if isinstance(r.event, Progressed)]


async def test_it_counts_to_the_end_and_ends_the_job(
    server: OwnServer, start_program: StartProgram
) -> None:
    program = counter(start_program, server, 0.01)
    assert await program.end() == 0, program
    records = await history(server)
    assert steps(records) == list(range(1, 11))
    assert isinstance(records[-1].event, Succeeded)


async def test_the_next_one_goes_on_where_a_killed_one_stopped(
    server: OwnServer, start_program: StartProgram
) -> None:
    first = counter(start_program, server, 0.2)
    await first.line("step 3")
    first.kill()
    second = counter(start_program, server, 0.01)
    assert await second.end() == 0, second
    assert any(line.startswith("taking over after step") for line in second.lines), second
    records = await history(server)
    assert [type(r.event) for r in records].count(Recovered) == 1
    assert steps(records) == list(range(1, 11))
    assert isinstance(records[-1].event, Succeeded)


async def test_one_that_was_frozen_and_wakes_adds_nothing(
    server: OwnServer, start_program: StartProgram
) -> None:
    first = counter(start_program, server, 0.2)
    await first.line("step 2")
    first.send(signal.SIGSTOP)
    second = counter(start_program, server, 0.01)
    assert await second.end() == 0, second
    first.send(signal.SIGCONT)
    assert await first.end() == 0, first
    assert any(line.startswith("stopped:") for line in first.lines), first
    records = await history(server)
    assert steps(records) == list(range(1, 11))
    assert all(a.epoch <= b.epoch for a, b in pairwise(records))
    assert isinstance(records[-1].event, Succeeded)


async def test_a_wish_to_cancel_reaches_it_with_the_next_renewal(
    server: OwnServer, start_program: StartProgram
) -> None:
    program = counter(start_program, server, 1.0)
    await program.line("submitted")
    async with Log.open(server.url) as log:
        await log.append(job_id_for(log.generation, "", "order-17"), CancelRequested(), epoch=0)
    assert await program.end() == 0, program
    records = await history(server)
    assert isinstance(records[-1].event, Canceled)
    assert len(steps(records)) < 10


async def test_a_server_that_restarts_costs_it_time_only(
    server: OwnServer, start_program: StartProgram
) -> None:
    program = counter(start_program, server, 0.05)
    await program.line("step 2")
    await run_sync(server.restart, signal.SIGKILL)
    assert await program.end() == 0, program
    assert steps(await history(server)) == list(range(1, 11))
