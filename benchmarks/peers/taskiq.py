"""taskiq with the stream broker of taskiq-redis: one stream, one group, no result kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taskiq.cli.worker.args import WorkerArgs
from taskiq.cli.worker.run import run_worker
from taskiq_redis import RedisStreamBroker

from benchmarks.peers.begin_log import hold_async, note_async
from benchmarks.peers.program import SendAsync, redis_url, run

broker = RedisStreamBroker(redis_url())
jobs = {
    "note": broker.register_task(note_async, task_name="note"),
    "hold": broker.register_task(hold_async, task_name="hold"),
}


@asynccontextmanager
async def sending() -> AsyncIterator[SendAsync]:
    await broker.startup()

    async def send(job: str, sent_ns: int) -> None:
        await jobs[job].kiq(sent_ns)

    yield send
    await broker.shutdown()


def work() -> None:
    run_worker(
        WorkerArgs(broker=f"{__spec__.name}:broker", modules=[], workers=1, log_level="WARNING")
    )


if __name__ == "__main__":
    run(sending, work)
