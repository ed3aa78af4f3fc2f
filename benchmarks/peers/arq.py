"""arq: a sorted set of job ids that workers poll every half second, a key per job and result."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.worker import Worker

from benchmarks.peers.begin_log import hold_async, note_async
from benchmarks.peers.program import SendAsync, redis_url, run


@asynccontextmanager
async def sending() -> AsyncIterator[SendAsync]:
    pool = await create_pool(RedisSettings.from_dsn(redis_url()))
    yield pool.enqueue_job
    await pool.aclose()


async def note(_context: object, sent_ns: int) -> None:
    await note_async(sent_ns)


async def hold(_context: object, sent_ns: int) -> None:
    await hold_async(sent_ns)


def work() -> None:
    jobs = [func(note, name="note"), func(hold, name="hold")]
    Worker(jobs, redis_settings=RedisSettings.from_dsn(redis_url())).run()


if __name__ == "__main__":
    run(sending, work)
