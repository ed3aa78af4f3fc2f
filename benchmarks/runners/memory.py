"""Whether processes that run for long stay as small: runner, projector, gateway and server.

Short jobs are submitted as fast as one runner does them, for some minutes or up to a number of
jobs, while somebody lists them at the gateway. Told is each process's resident memory over time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import anyio
import httpx
from msgspec import Struct

from benchmarks.measuring.processes import BenchProcesses, bench_processes
from benchmarks.measuring.server import bench_server
from benchmarks.runners.farm import memory_bytes
from benchmarks.runners.small_farm import graph
from everfold import Everfold
from everfold.streams.redis.redis_errors import command
from everfold.submitting import SubmittedJob

JOB_S = 0.005
SLOTS = 4
AT_ONCE = 500
"""Jobs that are submitted with each call, and as many wait at the least."""
LIST_WITHIN_S = 60.0
"""For one list: the runner and all others work as fast as they can beside it."""
LOOKS = 20
"""How often is measured, over the whole time."""


class Look(Struct, frozen=True):
    """What processes take at one moment."""

    minutes: float
    jobs: int
    """That have ended."""
    mib: dict[str, float]


class MemoryFigures(Struct, frozen=True):
    looks: list[Look]
    growth: dict[str, float]
    """MiB that each process took at the end beyond what it took a third of the way."""


async def measure_memory(most_jobs: int, minutes: float) -> MemoryFigures:
    """Run jobs for so long, or until so many have ended."""
    async with bench_server() as (url, folder), Everfold.connect(url) as everfold:
        await everfold.log.make()
        with bench_processes(Path(folder), url, "everfold") as started:
            watched = await _started(everfold, started)
            address = next(word for word in watched.pop("address").split() if "://" in word)
            pids = {name: int(pid) for name, pid in watched.items()}
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_list_jobs, address)
                looks = await _looks(everfold, pids, most_jobs, minutes * 60)
                tasks.cancel_scope.cancel()
    first, last = looks[len(looks) // 3], looks[-1]
    return MemoryFigures(
        looks, {name: round(last.mib[name] - first.mib[name], 1) for name in last.mib}
    )


async def _started(everfold: Everfold, processes: BenchProcesses) -> dict[str, str]:
    """Start all that is watched; return their process ids, and what the gateway said first."""
    simulator = processes.start_simulator()
    url = simulator.first_line.split()[-1]
    runner = processes.everfold_runner("--comfyui", url, "--slots", str(SLOTS))
    projector, gateway = processes.projector(), processes.gateway()
    info = await command(everfold.log.redis, "INFO", "server")
    assert isinstance(info, bytes)
    server = next(line for line in info.decode().split() if line.startswith("process_id:"))
    named = {"runner": runner, "projector": projector, "gateway": gateway}
    pids = {name: str(process.child.pid) for name, process in named.items()}
    return {**pids, "server": server.partition(":")[2], "address": gateway.first_line}


async def _list_jobs(address: str) -> None:
    address, timeout = address.rstrip("/,."), httpx.Timeout(LIST_WITHIN_S)
    async with httpx.AsyncClient(base_url=address, timeout=timeout) as client:
        while True:
            await client.get("/everfold/v1/jobs")
            await anyio.sleep(1)


async def _looks(
    everfold: Everfold, pids: Mapping[str, int], most_jobs: int, seconds: float
) -> list[Look]:
    """Keep jobs waiting, and look at the processes now and then."""
    began_s, submitted, looks = time.monotonic(), 0, list[Look]()
    while True:
        waiting = await _waiting(everfold)
        ended, took_s = max(0, submitted - waiting - SLOTS), time.monotonic() - began_s
        share = max(took_s / seconds, ended / most_jobs)
        if share * LOOKS >= len(looks):
            mib = {name: round(memory_bytes(pid, "VmRSS") / 2**20, 1) for name, pid in pids.items()}
            looks.append(Look(round(took_s / 60, 1), ended, mib))
        if share >= 1:
            return looks
        if waiting < AT_ONCE and submitted < most_jobs + SLOTS:
            graphs = [graph(submitted + number, JOB_S) for number in range(AT_ONCE)]
            assert all(isinstance(o, SubmittedJob) for o in await everfold.submit_many(graphs))
            submitted += AT_ONCE
        await anyio.sleep(0.5)


async def _waiting(everfold: Everfold) -> int:
    keys, redis = everfold.log.keys, everfold.log.redis
    asked = (("ZCARD", keys.waiting(p, "default")) for p in range(keys.partitions))
    return sum(int(str(count)) for count in await redis.execute_all(asked))


def report(found: MemoryFigures) -> str:
    names = list(found.growth)
    lines = [f"{'minutes':>8} {'jobs':>9} " + " ".join(f"{name:>10}" for name in names)]
    for look in found.looks:
        sizes = " ".join(f"{look.mib[name]:>10.1f}" for name in names)
        lines.append(f"{look.minutes:>8.1f} {look.jobs:>9,} {sizes}")
    grown = ", ".join(f"{name} {mib:+.1f}" for name, mib in found.growth.items())
    return "\n".join([*lines, f"MiB, resident; from a third of the way to the end: {grown}"])
