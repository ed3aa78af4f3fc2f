"""SAQ: two lists per queue, waiting and active, and a key per job that also takes its result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from saq import Queue, Worker

from benchmarks.peers.begin_log import hold_async, note_async
from benchmarks.peers.program import SendAsync, redis_url, run


@asynccontextmanager
async def sending() -> AsyncIterator[SendAsync]:
    queue = Queue.from_url(redis_url())
    await queue.connect()

    async def send(job: str, sent_ns: int) -> None:
        await queue.enqueue(job, sent_ns=sent_ns)

    yield send
    await queue.disconnect()


async def note(_context: object, *, sent_ns: int) -> None:
    await note_async(sent_ns)


async def hold(_context: object, *, sent_ns: int) -> None:
    await hold_async(sent_ns)


async def _work() -> None:
    queue = Queue.from_url(redis_url())
    await queue.connect()
    await Worker(queue, functions=[("note", note), ("hold", hold)]).start()


if __name__ == "__main__":
    run(sending, lambda: asyncio.run(_work()))
