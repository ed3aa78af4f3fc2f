"""Whether it stays as fast when there is more: operations at small and at large logs.

The same operations on a log of 10 thousand, a million and five million events, and beside a
thousand and a hundred thousand open jobs, in turns: the cost of each is to stay what it was.
Memory: an event beside a bare XADD of its JSON, an open job's state with its index beside an HSET
of the state.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from typing import cast

import anyio
from msgspec import Struct
from redis.asyncio import Redis

from benchmarks.log.append import append
from benchmarks.measuring.history import write_history
from benchmarks.measuring.open_jobs import project
from benchmarks.measuring.server import bench_server
from everfold import Everfold
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_info

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
TARGET_FLAT, TARGET_MEMORY = 1.2, 1.3
IN_FLIGHT = 200


class Cost(Struct, frozen=True):
    """Median times of one operation, in milliseconds, measured in turns."""

    name: str
    small_ms: float
    ms: float


class Costs(Struct, frozen=True):
    """Operations on a log of this size, beside the same ones on the smallest."""

    events: int
    open_jobs: int
    operations: list[Cost]

    @property
    def worst(self) -> float:
        return max(cost.ms / cost.small_ms for cost in self.operations)


class ScaleFigures(Struct, frozen=True):
    costs: list[Costs]
    memory_per_event: float
    bare_per_event: float
    """Bytes of an XADD with the same fields."""
    memory_per_open_job: float
    """Of its projection: the state, and its share of the index."""
    bare_per_open_job: float
    """Bytes of the job's state alone, by HSET."""
    all_per_open_job: float
    """Of everything that it has in Redis: also its events, its head, its place in the queue."""


Operations = dict[str, Callable[[int], Awaitable[None]]]
"""What is done, by name; each call is told its number."""

SMALL = (10_000, 1_000)
"""Events and open jobs."""

SIZES = ((1_000_000, 1_000), (5_000_000, 1_000), (10_000, 100_000))


async def measure_scale(most_events: int, calls: int) -> ScaleFigures:
    costs = []
    async with _server_holding(*SMALL) as small:
        for events, open_jobs in SIZES:
            if events <= most_events:
                async with _server_holding(events, open_jobs) as large:
                    found = await _in_turns(small, large, calls)
                costs.append(Costs(events, open_jobs, found))
    return ScaleFigures(costs, *await _event_memory(), *await _job_memory())


@asynccontextmanager
async def _server_holding(events: int, open_jobs: int) -> AsyncIterator[Operations]:
    """A server with so much in it, all of it folded, and what is measured there."""
    async with bench_server() as (url, _), Everfold.connect(url) as everfold:
        log = everfold.log
        await log.make()
        await write_history(log, events, IN_FLIGHT)
        jobs = await _submitted(everfold, open_jobs)
        await project(log)
        partition = log.keys.partition_of(jobs[0])
        lease, *_ = await Dispatch(log, "bench").claim(partition, ["default"], 1)
        yield _operations(everfold, jobs, lease)


async def _submitted(everfold: Everfold, count: int) -> list[str]:
    limiter = anyio.CapacityLimiter(200)
    jobs: list[str] = []

    async def submit() -> None:
        async with limiter:
            jobs.append((await everfold.submit(GRAPH)).job_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(submit)
    return jobs


def _operations(everfold: Everfold, jobs: Sequence[str], lease: Lease) -> Operations:
    some = jobs[:: max(1, len(jobs) // 500)]

    async def get(step: int) -> None:
        await everfold.get(some[step % len(some)])

    async def page(_: int) -> None:
        await everfold.list(statuses=["queued"], limit=50)

    async def watch(step: int) -> None:
        async for _ in everfold.watch(some[step % len(some)]):
            break

    return {
        "append": partial(append, everfold.log, lease),
        "get": get,
        "list": page,
        "watch": watch,
    }


async def _in_turns(small: Operations, large: Operations, calls: int) -> list[Cost]:
    """Measure both at once, call by call: the machine is never the same for long."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in small}
    for step in range(calls):
        for name, (small_s, large_s) in times.items():
            small_s.append(await _seconds(small[name], step))
            large_s.append(await _seconds(large[name], step))
    return [
        Cost(name, *(round(median(seconds) * 1000, 4) for seconds in both))
        for name, both in times.items()
    ]


async def _seconds(call: Callable[[int], Awaitable[None]], step: int) -> float:
    started = time.perf_counter()
    await call(step)
    return time.perf_counter() - started


async def _used(redis: Redis) -> int:
    return int((await server_info(redis, "memory"))["used_memory_dataset"])


async def _event_memory() -> tuple[float, float]:
    """Return bytes per event in the log, ours and bare; jobs' heads are left out of both."""
    events = 200_000
    async with bench_server() as (url, _), Log.open(url) as log:
        await write_history(log, events, IN_FLIGHT)
        ours = 0
        rows: list[tuple[bytes, list[bytes]]] = []
        for partition in range(log.keys.partitions):
            key = log.keys.log(partition)
            ours += cast("int", await command(log.redis, "MEMORY USAGE", key, "SAMPLES", 0))
            ask = ("XRANGE", key, "-", "+", "COUNT", 2_000)
            rows += cast("list[tuple[bytes, list[bytes]]]", await command(log.redis, *ask))
        for index in range(0, events, 500):
            pipeline = log.redis.pipeline(transaction=False)
            for number in range(index, index + 500):
                fields = rows[number % len(rows)][1]
                payload = ("event", fields[9])
                pipeline.execute_command("XADD", f"bare:{number % 8}", "*", *payload)
            await pipeline.execute()
        bare = 0
        for number in range(8):
            ask_size = ("MEMORY USAGE", f"bare:{number}", "SAMPLES", 0)
            bare += cast("int", await command(log.redis, *ask_size))
        return ours / events, bare / events


async def _job_memory() -> tuple[float, float, float]:
    """Return bytes per open job: of its projection, of its state by HSET, of everything."""
    count = 20_000
    async with bench_server() as (url, _), Everfold.connect(url) as everfold:
        log = everfold.log
        await log.make()
        empty = await _used(log.redis)
        jobs = [(await everfold.submit(GRAPH)).job_id for _ in range(count)]
        await project(log)
        everything = (await _used(log.redis) - empty) / count
        sizes = [log.keys.job(job_id) for job_id in jobs[:500]]
        ours = float(sum([await _size(log.redis, key) for key in sizes]) / len(sizes))
        indexes = [log.keys.active(partition) for partition in range(log.keys.partitions)]
        ours += sum([await _size(log.redis, key) for key in indexes]) / count
        state = await read_hash(log.redis, log.keys.job(jobs[0]))
        flat = [part for pair in state.items() for part in pair]
        await command(log.redis, "HSET", log.keys.job("0" * 36), *flat)
        bare = await _size(log.redis, log.keys.job("0" * 36))
        return ours, float(bare), everything


async def _size(redis: Redis, key: str) -> int:
    return cast("int", await command(redis, "MEMORY USAGE", key, "SAMPLES", 0))


def report(found: ScaleFigures) -> str:
    lines = []
    for costs in found.costs:
        size = f"{costs.events:,} events, {costs.open_jobs:,} open jobs"
        verdict = f"target <= {TARGET_FLAT}: {_word(costs.worst, TARGET_FLAT)}"
        lines.append(f"{costs.worst:6.2f} x  {size}, the worst of four operations  {verdict}")
        lines += [
            f"          {cost.name:6} {cost.ms:.3f} ms, beside {cost.small_ms:.3f} ms at "
            f"{SMALL[0]:,} events and {SMALL[1]:,} open jobs"
            for cost in costs.operations
        ]
    for name, ours, bare in (
        ("event, beside a bare XADD of its JSON", found.memory_per_event, found.bare_per_event),
        (
            "open job's projection, beside an HSET of its state",
            found.memory_per_open_job,
            found.bare_per_open_job,
        ),
    ):
        ratio = ours / bare
        lines.append(f"{ratio:6.2f} x  memory per {name}  target <= 1.3: {_word(ratio, 1.3)}")
        lines.append(f"          everfold {ours:,.0f} bytes, bare {bare:,.0f} bytes")
    whole = found.all_per_open_job
    lines.append(f"          {whole:,.0f} bytes per open job in all: events, head, place in queue")
    return "\n".join(lines)


def _word(value: float, target: float) -> str:
    return "met" if value <= target else "MISSED"
