"""A GPU farm's day in small: one runner process on three hundred ComfyUI servers.

Each server runs jobs of ten seconds one after the other and sends thirteen messages a second while
it does: progress, and progress_state, which lists every node that has begun, as recorded from a
real server (some 190 bytes a node: 1 KB for a usual graph, 40 KB for one of two hundred nodes). One
job in ten has such a large graph. Measured is the runner's process alone; the stand-ins for the
servers are two processes of their own.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import anyio
import httpx
from msgspec import Struct

from benchmarks.measuring.server import bench_server
from everfold import Everfold
from everfold.simulator.simulator import simulate
from everfold.streams.reading.reader import all_events
from everfold.submitting import SubmittedJob

STEPS = 65
"""Of a job: each is a progress and a progress_state, 13 messages a second over ten seconds."""

NODE_S = 10.0
LARGE_GRAPH_NODES = 200
ONE_IN = 10
HOSTS = 2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class FarmFigures(Struct, frozen=True):
    backends: int
    jobs: int
    succeeded: int
    executed_twice: int
    seconds: float
    cpu_share: float
    """Of one core, of the runner's process."""
    memory_bytes: int
    """Resident, of the runner's process, at its most."""
    events_per_job: float
    blocked: int
    """How often the runner's event loop stood still for more than 20 ms of its own work."""
    blocked_most_ms: float
    messages_per_s: float
    """That the servers sent, by what each job makes them send."""


def graph(large: bool) -> dict[str, object]:
    """Return a graph of ten seconds; a large one has two hundred small nodes before it."""
    color = random.getrandbits(24)
    size = {"width": 8, "height": 8, "batch_size": 1, "color": color}
    nodes: dict[str, object] = {"1": {"class_type": "EmptyImage", "inputs": size}}
    count = LARGE_GRAPH_NODES if large else 4
    for number in range(2, count):
        inputs = {"image": [str(number - 1), 0]}
        nodes[str(number)] = {"class_type": "ImageInvert", "inputs": inputs}
    sleep = {"seconds": NODE_S, "steps": STEPS, "preview": False, "seed": color}
    image = [str(count - 1), 0]
    nodes["900"] = {"class_type": "JTSleepProgress", "inputs": {"image": image, **sleep}}
    nodes["901"] = {"class_type": "PreviewImage", "inputs": {"images": ["900", 0]}}
    return nodes


async def measure_farm(backends: int, jobs_each: int) -> FarmFigures:
    jobs = backends * jobs_each
    async with bench_server() as (url, _), Everfold.connect(url) as everfold:
        with ExitStack() as running:
            shares = [backends // HOSTS + (n < backends % HOSTS) for n in range(HOSTS)]
            urls: list[str] = []
            for share in shares:
                host = running.enter_context(_program("benchmarks.runners.farm", str(share)))
                assert host.stdout is not None
                urls += (await anyio.to_thread.run_sync(host.stdout.readline)).split()
            arguments = (url, "everfold", "farm", "default", *urls)
            runner = running.enter_context(
                _program("benchmarks.runners.runner_program", *arguments)
            )
            assert runner.stdout is not None
            await anyio.to_thread.run_sync(runner.stdout.readline)
            graphs = [graph(number % ONE_IN == 0) for number in range(jobs)]
            assert all(isinstance(one, SubmittedJob) for one in await everfold.submit_many(graphs))
            cpu, started = cpu_s(runner.pid), time.perf_counter()
            await _all_ended(everfold, jobs)
            seconds = time.perf_counter() - started
            share_of_core = (cpu_s(runner.pid) - cpu) / seconds
            memory = memory_bytes(runner.pid, "VmHWM")
            runner.send_signal(signal.SIGUSR1)
            blocked, most_ms, _ = (await anyio.to_thread.run_sync(runner.stdout.readline)).split()
            ledgers = await _ledgers(urls)
        events = [record async for record in all_events(everfold.log)]
        kinds = [record.payload for record in events]
    executed = [row["prompt_id"] for row in ledgers if row["started_at"]]
    return FarmFigures(
        backends=backends,
        jobs=jobs,
        succeeded=sum(b'"type":"job.succeeded"' in payload for payload in kinds),
        executed_twice=len(executed) - len(set(executed)),
        seconds=round(seconds, 1),
        cpu_share=round(share_of_core, 3),
        memory_bytes=memory,
        events_per_job=round(len(events) / jobs, 1),
        blocked=int(blocked),
        blocked_most_ms=float(most_ms),
        messages_per_s=round(jobs * 2 * STEPS / seconds),
    )


@contextmanager
def _program(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    call = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


async def _all_ended(everfold: Everfold, jobs: int) -> None:
    ended = set[str]()
    async with everfold.follow() as batches:
        kinds = (b'"job.succeeded"', b'"job.failed"', b'"job.canceled"', b'"job.expired"')
        async for record in all_events(everfold.log):
            if any(kind in record.payload for kind in kinds):
                ended.add(record.job_id)
        async for batch in batches:
            ended |= {r.job_id for r in batch if any(kind in r.payload for kind in kinds)}
            if len(ended) >= jobs:
                return


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_bytes(pid: int, field: str) -> int:
    """Return a field of what the system tells of a process: VmRSS, or VmHWM, the most so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


async def _ledgers(urls: list[str]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    async with httpx.AsyncClient(timeout=30) as client:
        for url in urls:
            rows += (await client.get(f"{url}/simulator/ledger")).json()
    return rows


def report(found: FarmFigures) -> str:
    lost = found.jobs - found.succeeded
    return (
        f"{found.backends} servers, {found.jobs:,} jobs of {NODE_S:g} s in {found.seconds:.0f} s, "
        f"about {found.messages_per_s:,} messages/s\n"
        f"          {lost} lost, {found.executed_twice} executed twice\n"
        f"          the runner: {found.cpu_share:.0%} of a core, "
        f"{found.memory_bytes / 2**20:.0f} MiB at most\n"
        f"          its event loop stood still for more than 20 ms {found.blocked} times, "
        f"{found.blocked_most_ms:g} ms at most\n"
        f"          {found.events_per_job} events written per job"
    )


async def host(count: int) -> None:
    """Be some of the servers, until the process ends."""
    async with AsyncExitStack() as running:
        root = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="everfold-farm-")))
        urls = []
        for number in range(count):
            simulator = await running.enter_async_context(simulate(root / str(number)))
            urls.append(simulator.url)
        print(*urls, flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(host, int(sys.argv[1]))
