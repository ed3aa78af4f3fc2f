"""Many who watch: how late a state reaches a thousand watchers of two hundred running jobs.

One process watches, another one appends two updates a second for each job, on the same machine. The
time of an update is put into it when it is sent, so that what is measured is append, tail, read and
fold. Memory and CPU are those of the watching process.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import anyio
from msgspec import Struct

from benchmarks.measuring.percentiles import Percentiles, percentiles
from benchmarks.measuring.server import bench_server
from everfold import Everfold
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.event import Progressed, Submitting
from everfold.streams.leases.dispatch import Dispatch

JOBS, WATCHERS = 200, 1_000
UPDATES_PER_S = 2.0
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


class FanoutFigures(Struct, frozen=True):
    watchers: int
    jobs: int
    delivered: int
    expected: int
    latency: Percentiles
    cpu_share: float
    """Of one core, of the watching process."""
    memory_bytes: int
    """What the watchers added to the process."""


async def measure_fanout(seconds: float) -> FanoutFigures:
    async with bench_server() as (url, _), Everfold.connect(url) as everfold:
        jobs = [(await everfold.submit(GRAPH)).job_id for _ in range(JOBS)]
        latencies: list[float] = []
        before = _memory_bytes()
        ready: set[int] = set()
        with _writer(url, seconds) as writer:
            assert writer.stdout is not None
            assert writer.stdin is not None
            await anyio.to_thread.run_sync(writer.stdout.readline)  # it has the leases
            async with anyio.create_task_group() as tasks:
                for number in range(WATCHERS):
                    watch = (everfold, jobs[number % JOBS], latencies, ready, number)
                    tasks.start_soon(_watch, *watch)
                while len(ready) < WATCHERS:  # noqa: ASYNC110  # nobody would set an event
                    await anyio.sleep(0.05)
                cpu, started = time.process_time(), time.perf_counter()
                writer.stdin.write("go\n")
                writer.stdin.flush()
                sent = int(await anyio.to_thread.run_sync(writer.stdout.readline))
                await anyio.sleep(2.0)  # for the last ones
                share = (time.process_time() - cpu) / (time.perf_counter() - started)
                tasks.cancel_scope.cancel()
        return FanoutFigures(
            watchers=WATCHERS,
            jobs=JOBS,
            delivered=len(latencies),
            expected=sent * WATCHERS // JOBS,
            latency=percentiles(latencies),
            cpu_share=round(share, 3),
            memory_bytes=_memory_bytes() - before,
        )


def _writer(url: str, seconds: float) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "benchmarks.serving.fanout", url, str(seconds)]
    pipe = subprocess.PIPE
    return subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True)


async def _watch(
    everfold: Everfold, job_id: str, latencies: list[float], ready: set[int], number: int
) -> None:
    async for job in everfold.watch(job_id):
        ready.add(number)
        if job.node:
            latencies.append((time.time_ns() - int(job.node)) / 1e9)


def _memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report(found: FanoutFigures) -> str:
    latency = found.latency
    missing = "" if found.delivered == found.expected else f", EXPECTED {found.expected:,}"
    return (
        f"{found.watchers:,} watchers of {found.jobs} jobs, {UPDATES_PER_S:g} updates/s each\n"
        f"          {found.delivered:,} states delivered{missing}\n"
        f"          update to watcher: p50 {latency.p50_s * 1000:.1f} ms, "
        f"p99 {latency.p99_s * 1000:.1f} ms, max {latency.max_s * 1000:.1f} ms\n"
        f"          {found.cpu_share:.0%} of a core, {found.memory_bytes / 2**20:.0f} MiB"
    )


async def write(url: str, seconds: float) -> None:
    """Be the process that appends: take the jobs, wait for a word, and tell of each."""
    async with Log.open(url, actor="writer") as log:
        dispatch, leases = Dispatch(log, "writer"), list[Lease]()
        for partition in range(log.keys.partitions):
            leases += await dispatch.claim(partition, ["default"], JOBS)
        begin = Submitting(attempt=1, backend="b", boot="m", prompt_id="p", client_id="c")
        for lease in leases:
            await log.append(lease.job_id, begin, epoch=lease.epoch, holder=lease.runner)
        print(len(leases), flush=True)
        sys.stdin.readline()
        sent = 0

        async def tell(number: int, lease: Lease) -> None:
            nonlocal sent
            await anyio.sleep(number / JOBS / UPDATES_PER_S)  # not all at once
            due = anyio.current_time()
            for step in range(int(seconds * UPDATES_PER_S)):
                await anyio.sleep(max(0.0, due - anyio.current_time()))
                due += 1 / UPDATES_PER_S
                event = Progressed(
                    attempt=1, value=0.5, nodes_done=step, nodes_total=1, node=str(time.time_ns())
                )
                await log.append(lease.job_id, event, epoch=lease.epoch, holder=lease.runner)
                sent += 1

        async with anyio.create_task_group() as tasks:
            for number, lease in enumerate(leases):
                tasks.start_soon(tell, number, lease)
        print(sent, flush=True)


if __name__ == "__main__":
    anyio.run(write, sys.argv[1], float(sys.argv[2]))
