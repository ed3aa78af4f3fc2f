"""A database that does not answer, and rows that it does not take."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from everfold.projector.subscribing.held import REFUSED
from everfold.projector.subscribing.status import held_jobs
from everfold.projector.subscribing.subscription import TargetAway
from everfold.sinks.sql import SqlSink
from everfold.streams.appending.log import Log
from everfold.streams.errors import Unavailable
from everfold.streams.reading.reader import job_events
from tests.everfold.sinks.databases import Database, deliveries, rows, sink_of
from tests.projector.jobs import GRAPH, add_raw, make_jobs
from tests.projector.subscribing.listening import consuming
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

LOCKS = {"sqlite": "BEGIN EXCLUSIVE", "postgresql": "LOCK TABLE everfold_jobs, everfold_schema"}


async def test_a_database_that_does_not_answer_is_away_and_holds_no_job(
    log: Log, database: Database
) -> None:
    url, engine = database
    jobs = await make_jobs(log, 3)
    given = [(await deliveries(log, job_id))[0] for job_id in jobs]
    async with aclosing(SqlSink(log, url, timeout_s=4.0)) as sink:
        await sink.open()

        async def is_away() -> None:
            with pytest.raises(TargetAway):
                await sink.deliver(given)

        async with engine.connect() as other:
            await other.exec_driver_sql(LOCKS[engine.dialect.name])
            async with anyio.create_task_group() as tasks:
                for _ in range(12):  # more than there are connections
                    tasks.start_soon(is_away)
            with pytest.raises(Unavailable, match="cannot be used"):
                await SqlSink(log, url, timeout_s=4.0).open()
            await other.rollback()
        await sink.deliver(given)
    assert set(await rows(engine)) == set(jobs)


FIRST, ODD, LATER = "odd-1", "odd-3", "odd-8"
"""Jobs of one partition."""


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_a_value_that_the_database_refuses_parks_its_job_and_no_other(
    log: Log, database: Database
) -> None:
    url, engine = database
    await log.submit(GRAPH, job_id=FIRST, user="ada")
    (submitted,) = await job_events(log, FIRST)
    # As a program with a mistake writes it: no user of ours has this character.
    odd = submitted.payload.replace(b'"user":"ada"', b'"user":"a\\u0000"')
    await add_raw(log, ODD, 1, odd)
    await log.submit(GRAPH, job_id=LATER)
    assert len({log.keys.partition_of(job_id) for job_id in (FIRST, ODD, LATER)}) == 1

    async with aclosing(await sink_of(log, url, events=True)) as sink, consuming(log, sink):
        await eventually(lambda: held_jobs(log, "sql"))
    (held,) = await held_jobs(log, "sql")
    assert (held.job_id, held.held.is_parked, held.held.cause) == (ODD, True, REFUSED)
    assert set(await rows(engine)) == {FIRST, LATER}
