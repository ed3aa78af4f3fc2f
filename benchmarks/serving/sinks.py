"""How fast database records are kept: the SQL sink on SQLite and on PostgreSQL.

A log of realistic jobs is consumed from its beginning, with a row per job and one per event; beside
it the same rows by one loop of plain inserts in batches of the same size, which checks nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from msgspec import Struct
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.measuring.history import write_history
from benchmarks.measuring.server import bench_server
from benchmarks.measuring.table import Ratio, ratio
from everfold.projector.job.job import Job
from everfold.projector.subscribing.consumer import Consumer
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.status import subscription_status
from everfold.sinks.rows import event_row
from everfold.sinks.sql import BATCH, SqlSink
from everfold.sinks.tables import EVENTS, METADATA
from everfold.streams.appending.log import Log
from everfold.streams.reading.reader import all_events
from tests.support.postgres import postgres_server

IN_FLIGHT = 200


class SinkFigures(Struct, frozen=True):
    ratios: list[Ratio]


async def measure_sinks(events: int, repeat: int) -> SinkFigures:
    found = []
    for name in ("SQLite", "PostgreSQL"):
        with _database(name) as url:
            ours, plain = list[float](), list[float]()
            async with bench_server() as (redis_url, _), Log.open(redis_url) as log:
                await write_history(log, events, IN_FLIGHT)
                for turn in range(repeat):
                    ours.append(events / await _consume(log, url, f"sql{turn}"))
                    plain.append(events / await _insert(log, url))
        beside = f"inserts of the events alone, {BATCH} at a time"
        found.append(ratio(f"records on {name}", ours, plain, unit="events/s", beside=beside))
    return SinkFigures(found)


@contextmanager
def _database(name: str) -> Iterator[str]:
    with ExitStack() as stack:
        if name == "PostgreSQL":
            yield stack.enter_context(postgres_server())
        else:
            folder = stack.enter_context(TemporaryDirectory(prefix="everfold-bench-"))
            yield f"sqlite+aiosqlite:///{Path(folder) / 'jobs.db'}"


async def _consume(log: Log, url: str, name: str) -> float:
    """Return the seconds that the sink takes for the whole log."""
    await _empty(url)
    async with aclosing(SqlSink(log, url, name=name, events=True, progress=True)) as sink:
        await sink.open()
        started = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            await tasks.start(Consumer(log, "bench", sink).run)
            while any(row.lag_events for row in await subscription_status(log, name)):  # noqa: ASYNC110 - the server knows
                await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
        return time.perf_counter() - started


async def _insert(log: Log, url: str) -> float:
    """Return the seconds that plain inserts take, reading included."""
    await _empty(url)
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    started = time.perf_counter()
    async for rows in _batches(log):
        async with engine.begin() as connection:
            await connection.execute(EVENTS.insert(), rows)
    seconds = time.perf_counter() - started
    await engine.dispose()
    return seconds


async def _batches(log: Log) -> AsyncIterator[list[dict[str, object]]]:
    rows: list[dict[str, object]] = []
    async for record in all_events(log):
        rows.append(event_row(log.keys.namespace, Delivery(record, Job())))
        if len(rows) == BATCH:
            yield rows
            rows = []
    if rows:
        yield rows


async def _empty(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)
    await engine.dispose()


def report(found: SinkFigures) -> str:
    return "\n".join(map(str, found.ratios))
