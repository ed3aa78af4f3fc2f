"""No queue: a loop of redis-py that writes a job's six events and its state, and nothing else.

It is the least that a worker in Python pays who writes down what it will do before it does it, and
what came of it before it goes on. Nothing is claimed, fenced, ordered, renewed, retried or folded.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias, cast

from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from benchmarks.peers.begin_log import note
from benchmarks.peers.program import SendAsync, redis_url, run
from everfold.commands.process.long_run import in_long_run

AT_ONCE = 16
"""As many as Everfold's worker has slots."""
_Fields: TypeAlias = dict[FieldT, EncodableT]
_Entry: TypeAlias = tuple[bytes, dict[bytes, bytes]]
JOBS, GROUP, EVENTS = "jobs", "workers", "events"


def _event(what: str, job_id: str, **fields: object) -> _Fields:
    return {
        "event": json.dumps({"type": f"job.{what}", "actor": "bare", "job_id": job_id, **fields})
    }


@asynccontextmanager
async def sending() -> AsyncIterator[SendAsync]:
    redis = Redis.from_url(redis_url())

    async def send(job: str, sent_ns: int) -> None:
        both = redis.pipeline(transaction=True)
        both.hset(f"job:{sent_ns}", mapping={"workflow": json.dumps({"sent_ns": sent_ns})})
        both.xadd(JOBS, _event("submitted", str(sent_ns), kind=job))
        await both.execute()

    yield send
    await redis.aclose()


class _Worker:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._taken: asyncio.Queue[tuple[bytes, int]] = asyncio.Queue(AT_ONCE)

    async def run(self) -> int:
        await self._redis.xgroup_create(JOBS, GROUP, id="0", mkstream=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take())
            for _ in range(AT_ONCE):
                tasks.create_task(self._work())
        return 0

    async def _take(self) -> None:
        while True:
            answer = await self._redis.xreadgroup(GROUP, "one", {JOBS: ">"}, AT_ONCE, block=1000)
            for _, entries in cast("list[tuple[bytes, list[_Entry]]]", answer):
                claims = self._redis.pipeline(transaction=False)
                numbers = [int(json.loads(fields[b"event"])["job_id"]) for _, fields in entries]
                for number in numbers:
                    claims.xadd(EVENTS, _event("claimed", str(number), owner="one"))
                    claims.hgetall(f"job:{number}")
                await claims.execute()
                for (entry_id, _), number in zip(entries, numbers, strict=True):
                    await self._taken.put((entry_id, number))

    async def _work(self) -> None:
        while True:
            entry_id, number = await self._taken.get()
            job_id = str(number)
            await self._redis.xadd(EVENTS, _event("submitting", job_id, backend="none"))
            note(number)
            end = self._redis.pipeline(transaction=True)
            for kind in ("queued", "started", "succeeded"):
                end.xadd(EVENTS, _event(kind, job_id))
            end.hset(f"job:{number}", mapping={"status": "succeeded", "attempt": "1"})
            end.xack(JOBS, GROUP, entry_id)
            await end.execute()


async def _work() -> int:
    return await _Worker(Redis.from_url(redis_url())).run()


if __name__ == "__main__":
    run(sending, lambda: in_long_run(_work))
