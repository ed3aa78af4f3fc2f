"""What an append costs, beside redis-py's XADD of the same bytes and beside redis-benchmark.

Everfold's append is fenced, idempotent and chained; an XADD is none of these. One by one: one
caller that waits for each. Together: many callers, each of which waits for its own; beside it one
loop of redis-py pipelines with as many XADDs in each, and as many callers who each await an XADD,
all to an append-only file. redis-py is as it is installed, with hiredis.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import cast

import anyio
from msgspec import Struct
from redis.asyncio import BlockingConnectionPool, Redis
from redis.typing import EncodableT, FieldT

from benchmarks.measuring.server import bench_server
from benchmarks.measuring.table import Ratio, ratio
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Appended, Lease
from everfold.streams.events.codec import encode
from everfold.streams.events.event import Progressed
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.producer import Producer

CALLERS = (1, 50, 500)
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}

BATCH_JOBS = 100
"""Jobs of the one caller that appends many events with each call."""

BATCH = 5_000
"""Events of one such call."""

TARGET_MANY, TARGET_TOGETHER, TARGET_SINGLE = 2.0, 1.6, 1.5


class Percent(Struct, frozen=True):
    """Of the times of single appends, in milliseconds; the median of the runs."""

    p50_ms: float
    p99_ms: float


class AppendFigures(Struct, frozen=True):
    ratios: list[Ratio]
    single: dict[str, Percent]


def event(step: int) -> Progressed:
    return Progressed(
        attempt=1,
        value=0.5,
        nodes_done=3,
        nodes_total=7,
        node="3",
        node_class="KSampler",
        step=step,
        steps=20,
    )


async def measure_append(events: int, repeat: int) -> AppendFigures:
    single: dict[str, list[list[float]]] = {"everfold": [], "redis-py XADD": []}
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(repeat):
        for callers in CALLERS:
            count = events // 10 if callers == 1 else events
            for name, measure in MEASURED.items():
                rates.setdefault((name, callers), []).append(await measure(count, callers))
            rates.setdefault(("redis-benchmark", callers), []).append(
                await _redis_benchmark(count, callers)
            )
        rates.setdefault(("append_many", CALLERS[-1]), []).append(await _append_many(events))
        for name, times in (("everfold", _single_append), ("redis-py XADD", _single_xadd)):
            single[name].append(await times(events // 20))
    return AppendFigures(_ratios(rates, single), {n: _percent(runs) for n, runs in single.items()})


def _ratios(
    rates: dict[tuple[str, int], list[float]], single: dict[str, list[list[float]]]
) -> list[Ratio]:
    found = []
    for callers in CALLERS:
        beside_of = {
            "redis-py": f"redis-py, pipelines of {callers} XADD",
            "redis-py each": f"awaited XADDs, of {callers} caller(s) of redis-py",
            "redis-benchmark": f"redis-benchmark XADD, {callers} client(s)",
        }
        for other, beside in beside_of.items():
            if not all(rates[other, callers]):
                continue
            told = "one caller" if callers == 1 else f"{callers} callers at once"
            ours, theirs = rates["everfold", callers], rates[other, callers]
            asked = TARGET_TOGETHER if other == "redis-py" and callers == CALLERS[-1] else None
            found.append(ratio(told, ours, theirs, unit="events/s", beside=beside, at_least=asked))
    most = CALLERS[-1]
    found.append(
        ratio(
            f"one caller of append_many, {BATCH:,} events of {BATCH_JOBS} jobs in each call",
            rates["append_many", most],
            rates["redis-py", most],
            unit="events/s",
            beside=f"redis-py, pipelines of {most} XADD",
            at_least=TARGET_MANY,
        )
    )
    p99s = {name: [_at(times, 0.99) for times in runs] for name, runs in single.items()}
    found.append(
        ratio(
            "p99 of a single append",
            p99s["everfold"],
            p99s["redis-py XADD"],
            unit="ms",
            beside="redis-py, a single XADD",
            at_most=TARGET_SINGLE,
        )
    )
    return found


def _percent(runs: Sequence[Sequence[float]]) -> Percent:
    middle = sorted(runs, key=lambda times: _at(times, 0.99))[len(runs) // 2]
    return Percent(round(_at(middle, 0.5), 4), round(_at(middle, 0.99), 4))


def _at(times: Sequence[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000


async def _leases(log: Log, count: int) -> list[Lease]:
    for _ in range(count):
        await log.submit(GRAPH)
    dispatch, leases = Dispatch(log, "bench"), list[Lease]()
    for partition in range(log.keys.partitions):
        leases += await dispatch.claim(partition, ["default"], count)
    return leases


async def _everfold(events: int, callers: int) -> float:
    """Each caller has a job of its own, and appends one event after the other."""
    async with bench_server() as (url, _), Log.open(url) as log:
        leases = await _leases(log, callers)
        return await _rate([partial(append, log, lease) for lease in leases], events)


async def _append_many(events: int) -> float:
    """One caller appends many events of many jobs at once, and waits for all their answers."""
    async with bench_server() as (url, _), Log.open(url) as log:
        producer, leases = Producer(log, "bench"), await _leases(log, BATCH_JOBS)
        given = [(leases[step % BATCH_JOBS], event(step)) for step in range(events)]
        started = time.perf_counter()
        for first in range(0, events, BATCH):
            outcomes = await producer.append_many(given[first : first + BATCH])
            assert all(isinstance(one, Appended) for one in outcomes)
        return events / (time.perf_counter() - started)


async def append(log: Log, lease: Lease, step: int) -> None:
    """Append the event of this step, under the lease."""
    await log.append(lease.job_id, event(step), epoch=lease.epoch, holder=lease.runner)


async def _rate(callers: Sequence[Callable[[int], Awaitable[None]]], events: int) -> float:
    """Return the events a second of callers at work at once, who each await one after the other."""
    each = events // len(callers)

    async def work(call: Callable[[int], Awaitable[None]]) -> None:
        for step in range(each):
            await call(step)

    started = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for caller in callers:
            tasks.start_soon(work, caller)
    return each * len(callers) / (time.perf_counter() - started)


def _entry(step: int) -> dict[FieldT, EncodableT]:
    """The same five fields that an append of Everfold writes."""
    payload = encode(event(step))
    stamp = b'"id":"01a208b9-1cc4-7b66-be8d-dff45d26c0e4","actor":"client",'
    return {
        "j": "01a208b9-1cc4-7b66-be8d-dff45d26c0e4",
        "s": step,
        "e": 1,
        "p": "1700000000000-0",
        "d": payload[:1] + stamp + payload[1:],
    }


async def _redis_py(events: int, size: int) -> float:
    async with bench_server() as (url, _):
        redis = Redis.from_url(url)
        started = time.perf_counter()
        for first in range(0, events, size):
            pipeline = redis.pipeline(transaction=False)
            for step in range(first, min(first + size, events)):
                pipeline.xadd(f"log:{step % 8}", _entry(step))
            await pipeline.execute()
        rate = events / (time.perf_counter() - started)
        await redis.aclose()
        return rate


async def _redis_py_each(events: int, callers: int) -> float:
    async with bench_server() as (url, _):
        # The waiting pool: the default one opens a connection for each caller, or fails.
        redis = Redis.from_pool(
            BlockingConnectionPool.from_url(url, max_connections=32, timeout=None)
        )
        calls = [partial(_xadd, redis, f"log:{number % 8}") for number in range(callers)]
        rate = await _rate(calls, events)
        await redis.aclose()
        return rate


async def _xadd(redis: Redis, key: str, step: int) -> None:
    await cast("Awaitable[object]", redis.xadd(key, _entry(step)))


MEASURED = {"everfold": _everfold, "redis-py": _redis_py, "redis-py each": _redis_py_each}


async def _redis_benchmark(events: int, clients: int) -> float:
    """Return the rate that the server's own benchmark reaches, 0 where it is not installed."""
    program = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if program is None:
        return 0.0
    async with bench_server() as (url, _):
        fields = [str(part) for pair in _entry(1).items() for part in map(_text, pair)]
        socket = url.removeprefix("unix://").partition("?")[0]
        call = [program, "-s", socket, "-n", str(events), "-c", str(clients), "-q"]
        run = partial(
            subprocess.run, [*call, "XADD", "log", "*", *fields], capture_output=True, text=True
        )
        told = (await anyio.to_thread.run_sync(run)).stdout
    found = re.findall(r"([\d.]+) requests per second", told)
    return float(found[-1]) if found else 0.0


def _text(part: object) -> str:
    return part.decode() if isinstance(part, bytes) else str(part)


async def _single_append(count: int) -> list[float]:
    async with bench_server() as (url, _), Log.open(url) as log:
        (lease,) = await _leases(log, 1)
        return await _times(partial(append, log, lease), count)


async def _single_xadd(count: int) -> list[float]:
    async with bench_server() as (url, _):
        redis = Redis.from_url(url)
        times = await _times(partial(_xadd, redis, "log"), count)
        await redis.aclose()
        return times


async def _times(call: Callable[[int], Awaitable[None]], count: int) -> list[float]:
    for step in range(count // 10):
        await call(step)  # warm
    found = []
    for step in range(count):
        started = time.perf_counter()
        await call(step)
        found.append(time.perf_counter() - started)
    return found


def report(found: AppendFigures) -> str:
    times = [
        f"          single {name}: p50 {one.p50_ms:.3f} ms, p99 {one.p99_ms:.3f} ms"
        for name, one in found.single.items()
    ]
    return "\n".join([*map(str, found.ratios), *times])
