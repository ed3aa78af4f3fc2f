"""What docs/SCALING.md computes with: processor time and memory of the server, per thing.

Rule: one server with its append-only file, 24 partitions, processor time and not the clock. What
runners and projectors cost while there is nothing to do is that of real processes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from msgspec import Struct

from benchmarks.cluster import append_all, lives, submit_all
from benchmarks.measuring.cpu import own_cpu_s, servers_cpu_s
from benchmarks.measuring.open_jobs import GRAPH, project
from benchmarks.measuring.processes import bench_processes
from benchmarks.measuring.server import bench_server
from everfold import Everfold
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.redis.server import server_info

PARTITIONS, JOBS, EVENTS, RENEWALS = 24, 480, 9_600, 20
IDLE_S = 20.0


class Cost(Struct, frozen=True):
    what: str
    server_us: float
    client_us: float
    """Of the process that asks; 0 where that is another one."""


class Idle(Struct, frozen=True):
    """What one more process costs the server while nothing happens, in us of each second."""

    what: str
    server_us: float


class SizingFigures(Struct, frozen=True):
    costs: list[Cost]
    idle: list[Idle]
    open_job_bytes: float
    """Of everything that a waiting job has in memory."""
    ended_job_bytes: float
    """Of one that has ended after its ten events, while its state is kept."""
    event_bytes: float


async def measure_sizing() -> SizingFigures:
    async with bench_server() as (url, folder):
        async with Everfold.connect(url, partitions=PARTITIONS) as everfold:
            found = await _costs(everfold)
        return SizingFigures(found[0], await _idle(url, folder), *found[1])


async def _costs(everfold: Everfold) -> tuple[list[Cost], tuple[float, float, float]]:
    log, costs = everfold.log, list[Cost]()

    async def measure(what: str, work: Callable[[], Awaitable[object]], things: int) -> None:
        before_s, own_s = sum(await servers_cpu_s(log.redis)), own_cpu_s()
        await work()
        used_s, own_s = sum(await servers_cpu_s(log.redis)) - before_s, own_cpu_s() - own_s
        costs.append(Cost(what, used_s / things * 1e6, own_s / things * 1e6))

    await everfold.submit(GRAPH)
    await project(log)
    empty = await _used_bytes(log)
    await measure("submit of a job", lambda: submit_all(everfold, JOBS), JOBS)
    await measure("projection of a submit", lambda: project(log), JOBS)
    waiting = await _used_bytes(log)
    leases = list[Lease]()
    await measure("claim of a job, sixteen at once", lambda: _claim(log, leases), JOBS)
    claimed = await _used_bytes(log)
    await measure("append of an event", lambda: append_all(log, leases, EVENTS), EVENTS)
    appended = await _used_bytes(log)
    await measure("projection of an event", lambda: project(log), EVENTS)
    renewed = RENEWALS * len(leases)
    await measure("renewal of a lease", lambda: _renew(log, leases), renewed)
    before = await _used_bytes(log)
    await measure("whole life of a job, ten events", lambda: lives(everfold, JOBS), JOBS)
    after = await _used_bytes(log)
    each = ((waiting - empty) / JOBS, (after - before) / JOBS, (appended - claimed) / EVENTS)
    return costs, each


async def _claim(log: Log, leases: list[Lease]) -> None:
    dispatch = Dispatch(log, "bench")
    for partition in range(PARTITIONS):
        while found := await dispatch.claim(partition, ["default"], 16):
            leases += found


async def _renew(log: Log, leases: list[Lease]) -> None:
    dispatch = Dispatch(log, "bench")
    for _ in range(RENEWALS):
        await dispatch.renew(leases)


async def _used_bytes(log: Log) -> int:
    return int((await server_info(log.redis, "memory"))["used_memory_dataset"])


async def _idle(url: str, folder: Path) -> list[Idle]:
    """Start one process more at a time, and see what the server uses then."""
    namespace, found = "idle", list[Idle]()
    async with Log.open(url, namespace=namespace, partitions=PARTITIONS) as log:
        await log.make()
        with bench_processes(folder, url, namespace) as processes:
            gpus = [processes.simulator() for _ in range(2)]
            before = await _per_second(log)
            for what, start in (
                ("projector", processes.projector),
                ("runner", lambda: processes.everfold_runner("--comfyui", gpus[0])),
                ("second runner", lambda: processes.everfold_runner("--comfyui", gpus[1])),
                ("gateway", processes.gateway),
            ):
                start()
                await anyio.sleep(5)  # what is only done at the start
                now = await _per_second(log)
                found.append(Idle(what, now - before))
                before = now
    return found


async def _per_second(log: Log) -> float:
    before_s = sum(await servers_cpu_s(log.redis))
    await anyio.sleep(IDLE_S)
    return (sum(await servers_cpu_s(log.redis)) - before_s) / IDLE_S * 1e6


def report(found: SizingFigures) -> str:
    return "\n".join(
        (
            "processor time of the server, and of the process that asks, in us",
            *(f"{one.server_us:10,.1f}  {one.client_us:8,.1f}  {one.what}" for one in found.costs),
            "what one more process costs the server while nothing happens, in us of each second",
            *(f"{one.server_us:10,.0f}  {one.what}" for one in found.idle),
            "memory of the server, in bytes",
            f"{found.open_job_bytes:10,.0f}  a waiting job",
            f"{found.ended_job_bytes:10,.0f}  a job that has ended, with ten events",
            f"{found.event_bytes:10,.0f}  an event of progress",
        )
    )
