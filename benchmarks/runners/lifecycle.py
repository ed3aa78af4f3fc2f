"""Jobs per second and latency of jobs that do nothing, through Everfold and through its peers.

All are measured alike: a new server each, a queue filled by one process, then the workers; from
the first job's start to the last one's. Everfold's last job counts when its end can be read in the
projection; a peer's when its function was called. Settings are in peers/peer.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import cast

import anyio
from msgspec import Struct

from benchmarks.measuring.percentiles import percentiles
from benchmarks.measuring.table import Runs, number, runs
from benchmarks.peers import installed
from benchmarks.peers.everfold import NAMESPACE
from benchmarks.peers.peer import BARE, EVERFOLD, Peer, chosen
from benchmarks.peers.workers import Workers, tcp_server, workers_of
from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import connect, server_info

RATE = 200
LATENCY_S = 10.0
WARM_UP = 200
"""Jobs before the latency is taken: connections open, caches filled."""
TARGET_P99_S = 0.010
RUN_S = 400.0
"""Longest wait for the end of a queue."""
PAUSE_S = 0.01


class Lifecycle(Struct, frozen=True):
    """One library, and Everfold beside it: ratios are Everfold's figure over this one's."""

    name: str
    version: str
    at_once: str
    keeps: str
    jobs: int
    ratio: float
    jobs_per_s: Runs
    enqueue_ratio: float
    enqueued_per_s: Runs
    p50_ratio: float
    p50_s: Runs
    p99_ratio: float
    p99_s: Runs
    written_bytes_per_job: int
    """To the server's append-only file."""
    kept_bytes_per_job: int
    """In the server's memory, when all jobs are done."""


class LifecycleFigures(Struct, frozen=True):
    workers: int
    rows: list[Lifecycle]
    """Everfold first, then the fastest first."""


class _Turn(Struct, frozen=True):
    jobs_per_s: float
    enqueued_per_s: float
    written: float
    kept: float


class _Measured(Struct):
    """All turns of one peer."""

    peer: Peer
    jobs: int
    turns: list[_Turn]
    p50_s: list[float]
    p99_s: list[float]


async def measure_lifecycle(
    jobs: int, repeat: int, workers: int = 1, only: tuple[str, ...] = ()
) -> LifecycleFigures:
    """Run all in turns. `only` names the peers to run; Everfold and the bare loop always run."""
    peers = [EVERFOLD, BARE, *installed.install(chosen(only))]
    found = [_Measured(peer, max(1, int(jobs * peer.share)), [], [], []) for peer in peers]
    for _ in range(repeat):
        for one in found:
            one.turns.append(await _queue(one.peer, one.jobs, workers))
            latency = percentiles(await _latencies_s(one.peer, workers))
            one.p50_s.append(latency.p50_s)
            one.p99_s.append(latency.p99_s)
    rows = [_row(one, found[0]) for one in found]
    rest = sorted(rows[1:], key=lambda row: -row.jobs_per_s.median)
    return LifecycleFigures(workers, [rows[0], *rest])


async def _queue(peer: Peer, jobs: int, workers: int) -> _Turn:
    """Fill a queue, then empty it."""
    async with tcp_server() as (url, folder):
        before = await _sizes(url)
        with workers_of(peer, url, folder) as programs:
            sending_s = await programs.send("note", jobs)
            programs.work(workers)
            seconds = await _until_done(programs, jobs)
        after = await _sizes(url)
    written, kept = ((b - a) / jobs for a, b in zip(before, after, strict=True))
    return _Turn(jobs / seconds, jobs / sending_s, written, kept)


async def _until_done(programs: Workers, jobs: int) -> float:
    """Return the seconds from the first job's start until all are done."""
    begun_ns = [job.begun_ns for job in await programs.until_begun(jobs, RUN_S)]
    done_ns = max(begun_ns)
    if programs.peer == EVERFOLD:
        done_ns = await _visible_ns(programs.redis_url, jobs)
    return (done_ns - min(begun_ns)) / 1e9


async def _visible_ns(url: str, jobs: int) -> int:
    """Return when the projection showed the end of every job."""
    async with Log.open(url, namespace=NAMESPACE) as log:
        with anyio.fail_after(RUN_S):
            while await _ended(log) < jobs:  # noqa: ASYNC110 - another process makes it so
                await anyio.sleep(PAUSE_S)
    return time.monotonic_ns()


async def _ended(log: Log) -> int:
    counts = [
        cast("int", await command(log.redis, "ZCARD", log.keys.ended(partition)))
        for partition in range(log.keys.partitions)
    ]
    return sum(counts)


async def _latencies_s(peer: Peer, workers: int) -> list[float]:
    """Return how long jobs at a steady rate waited for their start, the workers being warm."""
    async with tcp_server() as (url, folder):
        with workers_of(peer, url, folder) as programs:
            programs.work(workers)
            await programs.send("note", WARM_UP)
            await programs.until_begun(WARM_UP, RUN_S)
            count = int(RATE * LATENCY_S)
            await programs.send("note", count, RATE)
            begun = await programs.until_begun(WARM_UP + count, RUN_S)
    return [(job.begun_ns - job.sent_ns) / 1e9 for job in begun[WARM_UP:]]


async def _sizes(url: str) -> tuple[int, int]:
    """Return the bytes in the append-only file and in memory."""
    redis = connect(url)
    try:
        found = await server_info(redis, "everything")
    finally:
        await redis.aclose()
    return int(found["aof_current_size"]), int(found["used_memory_dataset"])


def _row(one: _Measured, ours: _Measured) -> Lifecycle:
    def ratio(values: Callable[[_Measured], Sequence[float]]) -> float:
        return round(median(values(ours)) / median(values(one)), 3)

    def jobs_per_s(of: _Measured) -> list[float]:
        return [turn.jobs_per_s for turn in of.turns]

    def enqueued_per_s(of: _Measured) -> list[float]:
        return [turn.enqueued_per_s for turn in of.turns]

    return Lifecycle(
        name=one.peer.name,
        version=installed.version(one.peer),
        at_once=one.peer.at_once,
        keeps=one.peer.keeps,
        jobs=one.jobs,
        ratio=ratio(jobs_per_s),
        jobs_per_s=runs(jobs_per_s(one)),
        enqueue_ratio=ratio(enqueued_per_s),
        enqueued_per_s=runs(enqueued_per_s(one)),
        p50_ratio=ratio(lambda of: of.p50_s),
        p50_s=runs(one.p50_s),
        p99_ratio=ratio(lambda of: of.p99_s),
        p99_s=runs(one.p99_s),
        written_bytes_per_job=round(median(turn.written for turn in one.turns)),
        kept_bytes_per_job=round(median(turn.kept for turn in one.turns)),
    )


def report(found: LifecycleFigures) -> str:
    ours = found.rows[0]
    verdict = "met" if ours.p99_s.median <= TARGET_P99_S else "MISSED"
    lines = [
        f"ratios are everfold / peer; {found.workers} worker process(es) each, everfold's with a "
        "projector beside them",
        f"{'':>10}  {'':36} {'jobs/s':>30}  {'enqueued/s':>37}",
        *map(_rates, found.rows),
        f"enqueue to start at {RATE} jobs/s, ms (everfold's target p99 <= 10 ms: {verdict})",
        *map(_latency, found.rows),
        "how many jobs, what is written and kept of each, and how many are in hand at once",
        *map(_stored, found.rows),
    ]
    return "\n".join(lines)


def _rates(row: Lifecycle) -> str:
    return (
        f"{row.ratio:8.2f} x  {row.version:36} {row.jobs_per_s!s:>30}  "
        f"{row.enqueue_ratio:5.2f} x {row.enqueued_per_s!s:>29}"
    )


def _latency(row: Lifecycle) -> str:
    return (
        f"{row.p99_ratio:8.2f} x  {row.version:36} p99 {_ms(row.p99_s):>28}  "
        f"{row.p50_ratio:5.2f} x p50 {_ms(row.p50_s):>25}"
    )


def _ms(of: Runs) -> str:
    return str(Runs(of.median * 1000, of.low * 1000, of.high * 1000, of.count))


def _stored(row: Lifecycle) -> str:
    return (
        f"{row.name:10} {row.jobs:,} jobs, {number(row.written_bytes_per_job)} bytes written, "
        f"{number(row.kept_bytes_per_job)} kept: {row.keeps}; at once: {row.at_once}"
    )
