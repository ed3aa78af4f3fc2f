"""Database records: what they hold, and that nothing but a later state ever changes them."""

from __future__ import annotations

import random
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from everfold.projector.reading.queries import current
from everfold.projector.subscribing.admin import reset
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.status import held_jobs
from everfold.projector.subscribing.subscription import TargetAway
from everfold.sinks.sql import SqlSink
from everfold.sinks.tables import METADATA, SCHEMA
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured, Unavailable
from everfold.streams.events.event import CancelRequested, Rewound
from everfold.streams.retention.trimming import trim
from tests.everfold.sinks.databases import Database, deliveries, events, rows, sink_of
from tests.projector.jobs import GRAPH, make_jobs, work
from tests.projector.subscribing.listening import consuming, taken
from tests.support.programs.programs import StartProgram
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_a_row_per_job_says_what_the_job_says(log: Log, database: Database) -> None:
    url, engine = database
    jobs = await make_jobs(log, 6)
    odd = await log.submit(GRAPH, kind="portrait", metadata={"a": "nul \x00", "b": [1, None]})
    await work(log)
    async with aclosing(await sink_of(log, url, events=True)) as sink, consuming(log, sink):
        await taken(log, "sql")
    found = await rows(engine)
    assert set(found) == {*jobs, odd.job_id}
    for job_id, row in found.items():
        job = await current(log, job_id)
        assert (row.status, row.seq, row.user_id, row.prompt_id) == ("succeeded", 10, job.user, "p")
        assert row.ended_at.timestamp() * 1000 == pytest.approx(job.ended_at_ms) or (
            row.ended_at.tzinfo is None  # SQLite keeps no time zone: it is UTC
        )
        assert row.outputs == {}
    assert found[odd.job_id].metadata == {"a": "nul \ufffd", "b": [1, None]}
    told = await events(engine)
    assert len(told) == len(set(told)) == 7 * 5  # without progress
    assert ("job.progressed" in {kind for _, _, kind in told}) is False


async def test_deliveries_that_are_repeated_or_late_change_nothing(
    log: Log, database: Database
) -> None:
    url, engine = database
    (job_id,) = await make_jobs(log, 1)
    await work(log)
    told = await deliveries(log, job_id)
    async with aclosing(await sink_of(log, url, events=True, progress=True)) as sink:
        await sink.deliver(told)
        before, events_before = await rows(engine), await events(engine)
        chance = random.Random(3)
        for _ in range(20):
            some = chance.sample(told, chance.randint(1, len(told)))
            await sink.deliver(some)
        assert await rows(engine) == before
        assert await events(engine) == events_before


async def test_a_reset_to_the_beginning_changes_nothing(log: Log, database: Database) -> None:
    url, engine = database
    await make_jobs(log, 5)
    await work(log)
    async with aclosing(await sink_of(log, url, events=True)) as sink, consuming(log, sink):
        await taken(log, "sql")
        before = await rows(engine), await events(engine)
        await reset(log, "sql", "beginning")
        await eventually(lambda: delivered(log, 50), 15)
        await taken(log, "sql")
    assert (await rows(engine), await events(engine)) == before


async def delivered(log: Log, count: int) -> bool:
    from everfold.projector.subscribing.status import subscription_status

    return sum(row.delivered for row in await subscription_status(log, "sql")) >= count


async def test_an_id_that_is_used_again_after_a_trim_gets_the_row_of_its_new_job(
    log: Log, database: Database
) -> None:
    url, engine = database
    async with aclosing(await sink_of(log, url)) as sink, consuming(log, sink):
        await log.submit(GRAPH, job_id="again", user="ada")
        await work(log)
        await taken(log, "sql")
        old = await deliveries(log, "again")
        for partition in range(log.keys.partitions):
            await trim(log, partition, 0.0, needs_archive=False)
        await log.submit(GRAPH, job_id="again", user="bob")
        await taken(log, "sql")
        (row,) = (await rows(engine)).values()
        assert (row.user_id, row.status, row.seq) == ("bob", "queued", 1)
        await sink.deliver(old)  # late
    (row,) = (await rows(engine)).values()
    assert (row.user_id, row.status, row.seq) == ("bob", "queued", 1)


async def test_a_log_that_was_set_back_replaces_what_it_had_said(
    log: Log, database: Database
) -> None:
    url, engine = database
    (job_id,) = await make_jobs(log, 1)
    await work(log, steps=1, finish=False)
    told = await deliveries(log, job_id)
    async with aclosing(await sink_of(log, url, events=True)) as sink:
        await sink.deliver(told)
        # Another story from the third event on, as after a failover, with the note of it.
        await log.append(job_id, Rewound(seen_seq=5, found_seq=2), epoch=0)
        await log.append(job_id, CancelRequested(reason="new"), epoch=0)
        later = (await deliveries(log, job_id))[-1]
        await sink.deliver([Delivery(later.record, replace(later.job, seq=4))])
    (row,) = (await rows(engine)).values()
    assert (row.seq, row.rewound, row.status) == (4, 1, "canceling")


async def test_older_tables_get_what_they_lack_and_keep_what_they_have(
    log: Log, database: Database
) -> None:
    url, engine = database
    (job_id,) = await make_jobs(log, 1)
    async with aclosing(await sink_of(log, url)) as sink:
        await sink.deliver(await deliveries(log, job_id))
    async with engine.begin() as connection:
        for index in ("everfold_jobs_by_status", "everfold_jobs_by_user"):
            await connection.execute(text(f"DROP INDEX {index}"))
        for column in ("recovered_at", "outputs", "generation", "rewound", "submitted_at"):
            await connection.execute(text(f"ALTER TABLE everfold_jobs DROP COLUMN {column}"))
        await connection.execute(SCHEMA.update().values(version=0))
    async with aclosing(await sink_of(log, url)) as sink:
        assert (await rows(engine))[job_id].outputs is None
        await work(log)
        await sink.deliver(await deliveries(log, job_id))
    assert (await rows(engine))[job_id].outputs == {}


async def test_several_may_make_the_tables_at_once(log: Log, database: Database) -> None:
    url, engine = database
    sinks = [SqlSink(log, url, name=f"sql{number}") for number in range(4)]
    async with anyio.create_task_group() as tasks:
        for sink in sinks:
            tasks.start_soon(sink.open)
    for sink in sinks:
        await sink.aclose()
    assert await rows(engine) == {}


async def test_tables_of_a_newer_everfold_are_left_alone(log: Log, database: Database) -> None:
    url, engine = database
    async with aclosing(await sink_of(log, url)):
        async with engine.begin() as connection:
            await connection.execute(SCHEMA.update().values(version=99))
        with pytest.raises(Misconfigured, match=r"made by a newer Everfold \(schema 99"):
            await sink_of(log, url)


CONSUME = """
import sys, anyio
from everfold.sinks.sql import SqlSink
from everfold.projector.subscribing.consumer import Consumer
from everfold.streams.appending.log import Log

async def main(redis, namespace, url):
    async with Log.open(redis, namespace=namespace) as log:
        sink = SqlSink(log, url, events=True, progress=True)
        await sink.open()
        async with anyio.create_task_group() as tasks:
            await tasks.start(Consumer(log, "sql", sink).run)
            print("consuming", flush=True)

anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.long
async def test_killed_at_any_point_it_loses_and_repeats_nothing(
    log: Log, database: Database, start_program: StartProgram
) -> None:
    url, engine = database
    chance = random.Random(11)
    jobs: list[str] = []
    for _ in range(5):
        program = start_program("-c", CONSUME, log.url.reveal(), log.keys.namespace, url)
        await program.line("consuming", within_s=20)
        jobs += await make_jobs(log, 15)
        await work(log)
        await anyio.sleep(chance.random() * 0.3)  # somewhere in the middle of it
        program.kill()
    async with (
        aclosing(await sink_of(log, url, events=True, progress=True)) as sink,
        consuming(log, sink),
    ):
        await taken(log, "sql", within_s=30)
    assert not await held_jobs(log, "sql")
    found = await rows(engine)
    assert set(found) == set(jobs)
    assert {(row.seq, row.status) for row in found.values()} == {(10, "succeeded")}
    told = await events(engine)
    assert [(job_id, seq) for job_id, seq, _ in told] == [
        (job_id, seq) for job_id in sorted(jobs) for seq in range(1, 11)
    ]


async def test_a_database_that_is_away_is_waited_for(log: Log, tmp_path: Path) -> None:
    (job_id,) = await make_jobs(log, 1)
    sink = await sink_of(log, f"sqlite+aiosqlite:///{tmp_path / 'jobs.db'}")
    async with aclosing(sink):
        other = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'jobs.db'}")
        async with other.begin() as connection:
            await connection.run_sync(METADATA.drop_all)
        with pytest.raises(TargetAway, match="no such table"):
            await sink.deliver(await deliveries(log, job_id))
        await other.dispose()
    async with aclosing(SqlSink(log, "postgresql://postgres@127.0.0.1:1/none")) as closed:
        with pytest.raises(TargetAway, match="cannot be used"):
            await closed.deliver(await deliveries(log, job_id))
    away = "postgresql+asyncpg://postgres@127.0.0.1:1/none"
    with pytest.raises(Unavailable, match=r"the database postgresql.* cannot be used"):
        await sink_of(log, away)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("foo", "is not a database address; write sqlite"),
        ("mysql://a/b", "databases of the kind 'mysql' are not supported"),
    ],
)
async def test_an_address_that_makes_no_sense_is_refused(log: Log, url: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        SqlSink(log, url)


@pytest.mark.parametrize("url", ["sqlite:///x.db", "postgres://u:secret@h/d", "postgresql://h/d"])
async def test_plain_addresses_get_their_driver_and_passwords_are_not_shown(
    log: Log, url: str
) -> None:
    async with aclosing(SqlSink(log, url)) as sink:
        assert "+a" in sink.about
        assert "secret" not in sink.about
