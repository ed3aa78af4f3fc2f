"""The load of `benchmarks console`: jobs that come and are cancelled, EVENTS a second.

    python -m benchmarks.serving.console_load REDIS_URL NAMESPACE

It runs until its input ends, then it prints how many events a second it has appended. It is a
process of its own, so that what it costs does not delay the one that measures.
"""

from __future__ import annotations

import sys
import time

import anyio

from everfold import Everfold

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
EVENTS = 500
EVERY_S = 0.05
JOBS = int(EVENTS * EVERY_S / 2)
AT_ONCE = 100
"""Jobs under way; beyond that it is as fast as the ledger is, and says so by its rate."""


async def load(url: str, namespace: str) -> float:
    """Append until the input ends, and return the events a second."""
    appended, limit = 0, anyio.CapacityLimiter(AT_ONCE)

    async def one(ours: Everfold) -> None:
        nonlocal appended
        async with limit:
            job = await ours.submit(GRAPH, user="load", validate=False)
            await ours.cancel(job.job_id)
            appended += 2

    async with Everfold.connect(url, namespace=namespace) as ours, anyio.create_task_group() as all:
        begun = due = time.monotonic()
        print("ready", flush=True)

        async def until_told() -> None:
            await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            all.cancel_scope.cancel()

        all.start_soon(until_told)
        while True:
            if limit.statistics().tasks_waiting < AT_ONCE:
                for _ in range(JOBS):
                    all.start_soon(one, ours)
            due = max(due + EVERY_S, time.monotonic() - 1)
            await anyio.sleep(max(0.0, due - time.monotonic()))
    return appended / (time.monotonic() - begun)


if __name__ == "__main__":
    print(round(anyio.run(load, sys.argv[1], sys.argv[2])), flush=True)
