"""streaQ: one stream per priority, a key per task and per result, claimed after 60 s of silence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streaq import Worker

from benchmarks.peers.begin_log import hold_async, note_async
from benchmarks.peers.program import SendAsync, redis_url, run

worker = Worker(redis_url=redis_url())
jobs = {
    "note": worker.task(name="note")(note_async),
    "hold": worker.task(name="hold")(hold_async),
}


@asynccontextmanager
async def sending() -> AsyncIterator[SendAsync]:
    async with worker:

        async def send(job: str, sent_ns: int) -> None:
            await jobs[job].enqueue(sent_ns)

        yield send


if __name__ == "__main__":
    run(sending, worker.run_sync)
