"""How fast `everfold audit verify` proves a live namespace, beside a bare loop over its entries.

Real jobs, each submitted, claimed, told of and ended through the public calls, and projected:
verify checks every event, and each job's head, state, index and places. The bare loop reads the
entries with XRANGE by redis-py and does nothing with them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from msgspec import Struct
from redis.asyncio import Redis

from benchmarks.measuring.history import story
from benchmarks.measuring.open_jobs import project
from benchmarks.measuring.server import bench_server
from benchmarks.measuring.table import Ratio, ratio
from everfold.client import Everfold
from everfold.commands.process.long_run import collect_garbage_rarely
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Appended
from everfold.streams.events.event import Event, Progressed
from everfold.streams.leases.producer import Producer
from everfold.streams.redis.redis_errors import command
from everfold.submitting import SubmittedJob

IN_FLIGHT = 200
COUNT = 1_000
NAMESPACE = "verify"
TARGET_PER_S = 40_000


class VerifyFigures(Struct, frozen=True):
    ratios: list[Ratio]
    is_met: bool
    """Whether TARGET_PER_S events a second were proved, of jobs with many events."""


async def measure_verify(events: int, repeat: int) -> VerifyFigures:
    collect_garbage_rarely()
    found = [
        await _measure("27 events a job, most of them progress", events, repeat, progress=True),
        await _measure("seven events a job", events // 4, repeat, progress=False),
    ]
    return VerifyFigures(found, found[0].ours.median >= TARGET_PER_S)


async def _measure(name: str, events: int, repeat: int, *, progress: bool) -> Ratio:
    ours, theirs = list[float](), list[float]()
    async with bench_server() as (url, _):
        async with Everfold.connect(url, namespace=NAMESPACE) as everfold:
            await _run_jobs(everfold, events, progress=progress)
            await project(everfold.log)
        for _ in range(repeat):
            theirs.append(await _rate(partial(_read, url)))
            ours.append(await _rate(partial(_verify, url)))
    return ratio(name, ours, theirs, unit="events/s", beside="XRANGE, nothing done with it")


async def _run_jobs(everfold: Everfold, events: int, *, progress: bool) -> None:
    producer, told = Producer(everfold.log, "bench"), 0
    while told < events:
        graphs = [_graph(told + number) for number in range(IN_FLIGHT)]
        assert all(isinstance(one, SubmittedJob) for one in await everfold.submit_many(graphs))
        leases = await producer.claim(most=IN_FLIGHT)
        while len(leases) < IN_FLIGHT:
            leases += await producer.claim(most=IN_FLIGHT)
        told += 2 * IN_FLIGHT  # submitted and claimed they are already
        for step in zip(*(_rest(progress=progress) for _ in leases), strict=True):
            now = list(zip(leases, step, strict=True))
            assert all(isinstance(one, Appended) for one in await producer.append_many(now))
            told += IN_FLIGHT


def _rest(*, progress: bool) -> list[Event]:
    """Return what is told of a job after its claim."""
    rest = [*story()][2:]
    return [event for event in rest if progress or not isinstance(event, Progressed)]


def _graph(seed: int) -> dict[str, object]:
    return {"1": {"class_type": "EmptyImage", "inputs": {"width": seed}}}


async def _rate(doing: Callable[[], Awaitable[int]]) -> float:
    started_s = time.perf_counter()
    events = await doing()
    return events / (time.perf_counter() - started_s)


async def _verify(url: str) -> int:
    async with Log.open(url, namespace=NAMESPACE) as log:
        report = await verify(log)
    assert report.is_sound
    return report.events


async def _read(url: str) -> int:
    async with Log.open(url, namespace=NAMESPACE) as log:
        keys = [log.keys.log(partition) for partition in range(log.keys.partitions)]
    redis, events = Redis.from_url(url), 0
    for key in keys:
        after = "-"
        while rows := cast(
            "list[tuple[bytes, object]]",
            await command(redis, "XRANGE", key, after, "+", "COUNT", COUNT),
        ):
            events, after = events + len(rows), f"({rows[-1][0].decode()}"
    await redis.aclose()
    return events


def report(found: VerifyFigures) -> str:
    said = "met" if found.is_met else "MISSED"
    return "\n".join([*map(str, found.ratios), f"target of {TARGET_PER_S:,} events/s: {said}"])
