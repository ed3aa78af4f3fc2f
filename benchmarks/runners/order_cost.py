"""What a submit and a claim cost the server: `python -P benchmarks/runners/order_cost.py URL`.

Runs on this code and on that of before there were sorted sets, so it keeps to what both have. It
prints JSON: for each step the microseconds of the server, and the calls of scripts, per job.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Awaitable, Callable

import anyio

from everfold.streams.appending.log import Log
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.redis.redis_errors import command

JOBS, PARTITIONS, PAGE = 480, 8, 16
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8}}}
SCRIPTS = ("evalsha", "evalsha_ro", "eval", "eval_ro")


async def main(url: str) -> None:
    async with Log.open(url, namespace="cost", partitions=PARTITIONS) as log:
        dispatch = Dispatch(log, "runner")
        has_lanes = "lanes" in inspect.signature(Dispatch.claim).parameters
        queues = [("default", p) for p in ("high", "normal", "low")] if has_lanes else ["default"]

        async def claim(most: int) -> int:
            taken = [await dispatch.claim(p, queues, most) for p in range(PARTITIONS)]  # type: ignore[arg-type]
            return sum(map(len, taken))

        async def submit() -> int:
            for number in range(JOBS):
                await log.submit(GRAPH, user=f"user-{number % 3}")
            return JOBS

        async def look(most: int) -> int:
            """Do what a runner with `most` free slots does, several times."""
            taken = 0
            for partition in range(PARTITIONS):
                if not has_lanes:
                    taken += await _first_of_all(log, dispatch, most)
                else:
                    taken += len(await dispatch.claim(partition, queues, most))  # type: ignore[arg-type]
            return taken

        for _ in range(PAGE):
            await log.submit(GRAPH)
        await claim(1)  # what is only sent once
        await look(1)
        steps: dict[str, Callable[[], Awaitable[int]]] = {
            "submit": submit,
            "claim of one job": lambda: claim(1),
            "claim of sixteen jobs": lambda: claim(PAGE),
            "look and claim, one free slot": lambda: look(1),
            "look and claim, sixteen free slots": lambda: look(PAGE),
        }
        print(json.dumps({name: await _cost(log, step) for name, step in steps.items()}))


async def _first_of_all(log: Log, dispatch: Dispatch, most: int) -> int:
    """Take the jobs that stand first in all partitions."""
    from everfold.streams.queues.waiting_jobs import in_order, peek_all

    pages = await peek_all(log, range(PARTITIONS), "default")
    lines: dict[int, list[tuple[str, int | None]]] = {}
    for job in in_order(pages)[:most]:
        lines.setdefault(job.partition, []).append((job.line, job.place))
    return sum([len(await dispatch.claim_from(p, "default", those)) for p, those in lines.items()])


async def _cost(log: Log, step: Callable[[], Awaitable[int]]) -> dict[str, float]:
    await command(log.redis, "CONFIG RESETSTAT")
    jobs = await step()
    text = await command(log.redis, "INFO", "commandstats")
    lines = text.decode().split() if isinstance(text, bytes) else [f"{k}:{v}" for k, v in _of(text)]
    microseconds = calls = 0.0
    for line in lines:
        name, _, values = line.partition(":")
        if name.removeprefix("cmdstat_") in SCRIPTS:
            found = dict(pair.split("=") for pair in values.split(",") if "=" in pair)
            microseconds += float(found["usec"])
            calls += float(found["calls"])
    return {"us": microseconds / jobs, "calls": calls / jobs}


def _of(text: object) -> list[tuple[str, str]]:
    """Return what a client library made of the answer, in the server's form again."""
    assert isinstance(text, dict)
    return [(k, ",".join(f"{a}={b}" for a, b in v.items())) for k, v in text.items()]


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
