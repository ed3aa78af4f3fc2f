"""How fast the projector folds and commits, beside a bare consumer of the same entries.

The bare one is what a plain Redis program does: one loop over the partitions, XREADGROUP COUNT
1000, XACK, nothing else. Both run alone in one process on the same server, in turns.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import anyio
from msgspec import Struct

from benchmarks.measuring.history import EVENTS_PER_JOB, write_history
from benchmarks.measuring.percentiles import Percentiles, percentiles
from benchmarks.measuring.processes import bench_processes
from benchmarks.measuring.server import bench_server
from benchmarks.measuring.table import Ratio, ratio
from everfold.commands.process.long_run import collect_garbage_rarely
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.projector import Projector
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.event import Progressed, Submitting
from everfold.streams.leases.producer import Producer
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_info

COUNT = 1000
LATENCY_S = 10.0
RATE = 2_000
IN_FLIGHT = 200
EVERY_ANOTHER = 20_000
"""Jobs under way, so that no batch has two events of one of them."""


class ProjectorFigures(Struct, frozen=True):
    ratios: list[Ratio]
    visible: Percentiles
    """From the append's return to the state being readable, at 2,000 events/s."""
    bytes_per_event: int
    """Of the log, in the server."""
    bytes_per_open_job: int
    """Of a state and its place in the index, in the server."""
    process_bytes_per_open_job: int
    """What the projector's process grows by."""


async def measure_projector(events: int, repeat: int) -> ProjectorFigures:
    collect_garbage_rarely()
    async with bench_server() as (url, folder):
        visible = await _latency(url, folder)
    async with bench_server() as (url, _):
        measured = [await _fold_rate(url, events, IN_FLIGHT, repeat, 0.6)]
    async with bench_server() as (url, _):
        measured.append(await _fold_rate(url, events, EVERY_ANOTHER, repeat, 0.35))
    async with bench_server() as (url, _):
        measured.append(await _rebuild_rate(url, events, repeat))
    async with bench_server() as (url, _):
        measured.append(await _with_ten_times_the_history(url, events, repeat))
    async with bench_server() as (url, _):
        return ProjectorFigures(measured, visible, *await _memory(url))


@asynccontextmanager
async def _filled(url: str, namespace: str, events: int, in_flight: int) -> AsyncIterator[Log]:
    """A namespace with a history; everything is deleted at the end."""
    async with Log.open(url, namespace=namespace) as log:
        await write_history(log, events, in_flight)
        try:
            yield log
        finally:
            await command(log.redis, "FLUSHALL")


async def _rate(events: int, doing: Callable[[], Awaitable[None]]) -> float:
    gc.collect()
    started = time.perf_counter()
    await doing()
    return events / (time.perf_counter() - started)


async def _fold_rate(url: str, events: int, in_flight: int, repeat: int, target: float) -> Ratio:
    ours, theirs = list[float](), list[float]()
    async with _filled(url, "fold", events, in_flight) as log:
        for turn in range(repeat):
            theirs.append(await _rate(events, partial(_consume, log, f"bare-{turn}")))
            await _forget_projection(log)
            ours.append(await _rate(events, partial(_project, log)))
    jobs = "200 jobs in flight" if in_flight == IN_FLIGHT else "every event of another job"
    return ratio(
        f"fold and commit, {jobs}",
        ours,
        theirs,
        unit="events/s",
        beside="bare XREADGROUP+XACK",
        at_least=target,
    )


async def _consume(log: Log, group: str) -> None:
    for partition in range(log.keys.partitions):
        key = log.keys.log(partition)
        await command(log.redis, "XGROUP CREATE", key, group, "0-0")
        while True:
            ask = ("XREADGROUP", "GROUP", group, "c", "COUNT", COUNT, "STREAMS", key, ">")
            reply = cast(
                "list[tuple[bytes, list[tuple[bytes, object]]]]", await command(log.redis, *ask)
            )
            if not reply:
                break
            await command(log.redis, "XACK", key, group, *(row[0] for row in reply[0][1]))


async def _project(log: Log) -> None:
    """Run a projector until it has folded everything."""
    total = sum([cast("int", await command(log.redis, "XLEN", log.keys.log(p))) for p in _all(log)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Projector(log, "bench").run)
        while await _folded(log) < total:  # noqa: ASYNC110 - another process may fold it
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


def _all(log: Log) -> range:
    return range(log.keys.partitions)


async def _folded(log: Log) -> int:
    counts = 0
    for partition in _all(log):
        stored = await read_hash(log.redis, log.keys.projector(partition))
        counts += int(stored.get(b"folded", b"0"))
    return counts


async def _forget_projection(log: Log) -> None:
    """Leave only the log."""
    logs = {log.keys.log(partition).encode() for partition in _all(log)}
    cursor = b"0"
    while True:
        reply = await command(log.redis, "SCAN", cursor, "COUNT", 1000)
        cursor, found = cast("tuple[bytes, list[bytes]]", reply)
        gone = [key for key in found if key not in logs and not key.endswith(b":meta")]
        if gone:
            await command(log.redis, "DEL", *gone)
        if cursor == b"0":
            break
    for key in logs:
        await command(log.redis, "XGROUP DESTROY", key, "projector")


async def _rebuild_rate(url: str, events: int, repeat: int) -> Ratio:
    """A rebuild folds the same events as the live projector, beside it, and swaps them in."""
    ours, theirs = list[float](), list[float]()
    async with _filled(url, "rebuild", events, IN_FLIGHT) as log:
        for _ in range(repeat):
            await _forget_projection(log)
            theirs.append(await _rate(events, partial(_project, log)))
            ours.append(await _rate(events, partial(_rebuild, log)))
    return ratio("rebuild", ours, theirs, unit="events/s", beside="live projector", at_least=1.0)


async def _rebuild(log: Log) -> None:
    await Rebuild(log, JobsProjection()).run()


async def _with_ten_times_the_history(url: str, events: int, repeat: int) -> Ratio:
    """The same number of new events, folded behind a log of ten times the length."""
    ours, theirs = list[float](), list[float]()
    for turn in range(repeat):
        async with _filled(url, f"short-{turn}", events, IN_FLIGHT) as log:
            theirs.append(await _rate(events, partial(_project, log)))
        async with _filled(url, f"long-{turn}", events * 9, IN_FLIGHT) as log:
            await _project(log)
            await write_history(log, events, IN_FLIGHT)
            ours.append(await _rate(events, partial(_project, log)))
    return ratio(
        "fold and commit with 10 times the history",
        ours,
        theirs,
        unit="events/s",
        beside="short history",
        at_least=0.85,
    )


async def _latency(url: str, folder: Path) -> Percentiles:
    """Append at a steady rate to 200 jobs; look every hundredth of a second for one of them."""
    with bench_processes(folder, url, "latency") as processes:
        async with Log.open(url, namespace="latency", actor="bench") as log:
            processes.projector()
            leases = await _running_jobs(log, IN_FLIGHT)
            seen: list[float] = []
            async with anyio.create_task_group() as tasks:
                for number, lease in enumerate(leases):
                    tasks.start_soon(_tell, log, lease, number, seen if number < 20 else None)
            await command(log.redis, "FLUSHALL")
    return percentiles(seen)


async def _running_jobs(log: Log, count: int) -> list[Lease]:
    graph = {"1": {"class_type": "EmptyImage", "inputs": {}}}
    for _ in range(count):
        await log.submit(graph)
    producer = Producer(log, "bench")
    leases = await producer.claim(most=count)
    begin = Submitting(attempt=1, backend="b", boot="m", prompt_id="p", client_id="c")
    for lease in leases:
        await producer.append(lease, begin)
    return leases


async def _tell(log: Log, lease: Lease, number: int, seen: list[float] | None) -> None:
    producer = Producer(log, "bench")
    every_s = IN_FLIGHT / RATE
    until_s = time.perf_counter() + LATENCY_S
    await anyio.sleep(every_s * number / IN_FLIGHT)
    step = 0
    while time.perf_counter() < until_s:
        started = time.perf_counter()
        step += 1
        event = Progressed(
            attempt=1, value=step / 1000, nodes_done=0, nodes_total=1, step=step, steps=1000
        )
        appended = await producer.append(lease, event)
        if seen is not None:
            seen.append(await _until_visible(log, lease.job_id, appended.seq))
        await anyio.sleep(max(0.0, every_s - (time.perf_counter() - started)))


async def _until_visible(log: Log, job_id: str, seq: int) -> float:
    appended_s = time.perf_counter()
    while await _visible_seq(log, log.keys.job(job_id)) < seq:  # noqa: ASYNC110 - another process makes it so
        await anyio.sleep(0.0005)
    return time.perf_counter() - appended_s


async def _visible_seq(log: Log, key: str) -> int:
    return int(cast("bytes | None", await command(log.redis, "HGET", key, "seq")) or 0)


async def _memory(url: str) -> tuple[int, int, int]:
    """Fill a log with jobs that stay open, project them, and see what each part takes."""
    jobs = 20_000
    events = jobs * (EVENTS_PER_JOB - 2)
    async with Log.open(url, namespace="memory") as log:
        empty = await _used(log)
        await write_history(log, events, jobs)
        filled = await _used(log)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await _project(log)
        projected = await _used(log)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        await command(log.redis, "FLUSHALL")
    return (filled - empty) // events, (projected - filled) // jobs, grown // jobs


async def _used(log: Log) -> int:
    return int((await server_info(log.redis, "memory"))["used_memory"])


def report(found: ProjectorFigures) -> str:
    visible = found.visible
    met = "met" if visible.p99_s <= 0.010 else "MISSED"
    return "\n".join(
        [
            *map(str, found.ratios),
            f"append to visible at {RATE:,} events/s: p50 {visible.p50_s * 1000:.1f} ms, "
            f"p99 {visible.p99_s * 1000:.1f} ms (target p99 <= 10 ms: {met}), n={visible.count}",
            f"memory: {found.bytes_per_event} bytes per event in the log, "
            f"{found.bytes_per_open_job} per open job's state, "
            f"{found.process_bytes_per_open_job} per open job in the projector",
        ]
    )
