"""A database that does not answer, and rows that it does not take."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from everfold.projector.subscribing.subscription import TargetAway
from everfold.sinks.sql import SqlSink
from everfold.streams.appending.log import Log
from everfold.streams.errors import Unavailable
from tests.everfold.sinks.databases import Database, deliveries, rows
from tests.projector.jobs import make_jobs

pytestmark = pytest.mark.anyio

LOCKS = {"sqlite": "BEGIN EXCLUSIVE", "postgresql": "LOCK TABLE everfold_jobs, everfold_schema"}


async def test_a_database_that_does_not_answer_is_away_and_holds_no_job(
    log: Log, database: Database
) -> None:
    url, engine = database
    jobs = await make_jobs(log, 3)
    given = [(await deliveries(log, job_id))[0] for job_id in jobs]
    async with aclosing(SqlSink(log, url, timeout_s=1.5)) as sink:
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
                await SqlSink(log, url, timeout_s=1.5).open()
            await other.rollback()
        await sink.deliver(given)
    assert set(await rows(engine)) == set(jobs)
