"""What a test finds in the SQL sink's tables, and what the sink is given."""

from __future__ import annotations

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncEngine

from everfold.projector.folding.job_tracker import JobTracker
from everfold.projector.subscribing.delivery import Delivery
from everfold.sinks.sql import SqlSink
from everfold.sinks.tables import EVENTS, JOBS, METADATA
from everfold.streams.appending.log import Log
from everfold.streams.reading.reader import job_events


async def empty(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)


Database = tuple[str, AsyncEngine]


async def rows(engine: AsyncEngine) -> dict[str, Row[tuple[object, ...]]]:
    async with engine.connect() as connection:
        found = (await connection.execute(select(JOBS))).all()
    return {row.job_id: row for row in found}


async def events(engine: AsyncEngine) -> list[tuple[str, int, str]]:
    async with engine.connect() as connection:
        found = await connection.execute(select(EVENTS).order_by(EVENTS.c.job_id, EVENTS.c.seq))
        return [(row.job_id, row.seq, row.type) for row in found]


async def sink_of(log: Log, url: str, *, events: bool = False, progress: bool = False) -> SqlSink:
    sink = SqlSink(log, url, events=events, progress=progress)
    await sink.open()
    return sink


async def deliveries(log: Log, job_id: str) -> list[Delivery]:
    tracker = JobTracker(log, log.keys.partition_of(job_id))
    return [
        Delivery(record, await tracker.after(record)) for record in await job_events(log, job_id)
    ]
