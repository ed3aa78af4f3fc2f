"""How long a job stands still when its runner dies, with default settings and real processes.

`killed` and `frozen`: of jobs that run, from the signal until a survivor has appended news of the
job after its `recovered` event: it holds the job and has re-attached. `killed_after_outage`: the
same after no runner reached the server for 3 s. `killed_far`: runners that are 200 ms from the
server, with one queue and with many; the sooner figure is the take-over alone. `orphans`: from the
first to the last of many jobs of one dead runner that the survivors claim.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from anyio.to_thread import run_sync
from msgspec import Struct

from benchmarks.measuring.far_line import far_line
from benchmarks.measuring.percentiles import Percentiles, percentiles
from benchmarks.measuring.processes import BenchProcesses, Process, bench_processes
from everfold.embedded import embedded_server
from everfold.projector.reading.queries import current
from everfold.streams.appending.log import Log
from everfold.streams.events.event import Recovered
from everfold.streams.events.record import Recorded
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.registry import RunnerEntry, register_runner
from everfold.streams.reading.reader import job_events, partition_events
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

RUNNERS = 3
BACKENDS = 3
NODE_S = 6.0
OUTAGE_S = 3.0
KILLED_AFTER_S = (0.0, 0.5, 2.0)
"""From the end of the outage to the kill, in turns."""
FAR_S = 0.2
"""Time of a round trip to the server for runners that are far."""
FAR_QUEUES = (1, 12)


class Far(Struct, frozen=True):
    """Deaths of runners that are FAR_S from the server."""

    queues: int
    taken_over: Percentiles
    resumed: Percentiles


class RecoveryFigures(Struct, frozen=True):
    killed: Percentiles
    killed_after_outage: Percentiles
    killed_far: list[Far]
    frozen: Percentiles
    orphans: int
    orphans_detected_s: float
    """From the death to the first claim."""
    orphans_claimed_s: float
    """From the first claim to the last."""


def workflow(seconds: float) -> dict[str, object]:
    image = {"width": 16, "height": 16, "batch_size": 1, "color": random.getrandbits(24)}
    sleep = {"image": ["1", 0], "seconds": seconds, "steps": int(seconds * 5), "preview": False}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "JTSleepProgress", "inputs": {**sleep, "seed": random.getrandbits(31)}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


async def measure_recovery(kills: int, freezes: int, orphans: int) -> RecoveryFigures:
    with tempfile.TemporaryDirectory(prefix="everfold-bench-") as name:
        folder = Path(name)
        async with embedded_server(folder / "data") as server:
            killed = await _deaths(server.url, folder, kills, signal.SIGKILL)
            cut_off = await _deaths_after_outages(server.url, folder, kills)
            far = [await _far_deaths(server.url, folder, kills, count) for count in FAR_QUEUES]
            frozen = await _deaths(server.url, folder, freezes, signal.SIGSTOP)
            detected_s, claimed_s = await _many_orphans(server.url, folder, orphans)
    return RecoveryFigures(
        percentiles(killed),
        percentiles(cut_off),
        far,
        percentiles(frozen),
        orphans,
        round(detected_s, 3),
        round(claimed_s, 3),
    )


async def _deaths(url: str, folder: Path, times: int, how: signal.Signals) -> list[float]:
    namespace = f"deaths{int(how)}"
    found: list[float] = []
    async with Log.open(url, namespace=namespace) as log:
        with bench_processes(folder, url, namespace) as processes:
            backends = [processes.simulator() for _ in range(BACKENDS)]
            runners = [processes.runner(*backends) for _ in range(RUNNERS)]
            while len(found) < times:
                found += await _one_death(log, processes, backends, runners, how)
    return found[:times]


async def _deaths_after_outages(url: str, folder: Path, times: int) -> list[float]:
    """Kill runners after all of them were cut off; they reach the server through a proxy."""
    namespace = "outages"
    found: list[float] = []
    async with Log.open(url, namespace=namespace) as log, FaultProxy(url) as proxy:

        async def outage() -> None:
            await proxy.refuse()
            proxy.cut()
            await anyio.sleep(OUTAGE_S)
            await proxy.accept()
            await anyio.sleep(KILLED_AFTER_S[len(found) % len(KILLED_AFTER_S)])

        with bench_processes(folder, proxy.url, namespace) as processes:
            backends = [processes.simulator() for _ in range(BACKENDS)]
            # Starting one must not block the event loop: the proxy runs in it.
            runners = [await run_sync(processes.runner, *backends) for _ in range(RUNNERS)]
            while len(found) < times:
                found += await _one_death(log, processes, backends, runners, signal.SIGKILL, outage)
    return found[:times]


async def _far_deaths(url: str, folder: Path, times: int, queues: int) -> Far:
    namespace = f"far{queues}"
    taken_over, resumed = list[float](), list[float]()
    async with Log.open(url, namespace=namespace) as log, far_line(url, FAR_S) as far_url:
        with bench_processes(folder, far_url, namespace) as processes:
            processes.queues = ("default", *(f"q{number}" for number in range(1, queues)))
            backends = [processes.simulator() for _ in range(BACKENDS)]
            # Starting one must not block the event loop: the line runs in it.
            runners = [await run_sync(processes.runner, *backends) for _ in range(RUNNERS)]
            while len(resumed) < times:
                resumed += await _one_death(
                    log, processes, backends, runners, signal.SIGKILL, taken_over=taken_over
                )
    return Far(queues, percentiles(taken_over[:times]), percentiles(resumed[:times]))


async def _one_death(
    log: Log,
    processes: BenchProcesses,
    backends: list[str],
    runners: list[Process],
    how: signal.Signals,
    before: Callable[[], Awaitable[None]] | None = None,
    taken_over: list[float] | None = None,
) -> list[float]:
    """Return how long after it each job of a runner was resumed; `taken_over` gets how long after
    it each had a new runner."""
    seconds = NODE_S if before is None else NODE_S + OUTAGE_S + max(KILLED_AFTER_S)
    jobs = [(await log.submit(workflow(seconds))).job_id for _ in range(BACKENDS)]
    await _until_accepted(log, jobs)
    # Not always at the same place in the renewal and sweep intervals.
    await anyio.sleep(random.uniform(0.0, 2.0))
    if before is not None:
        await before()
    owner_of = {
        job_id: job.owner
        for job_id in jobs
        if (job := await current(log, job_id)).status == "running"
    }
    if not owner_of:
        return []  # all of them have ended meanwhile
    victim = next(r for r in runners if r.name in owner_of.values())
    orphans = [job_id for job_id, owner in owner_of.items() if owner == victim.name]
    died_at_ms = time.time_ns() // 1_000_000
    victim.send(how)
    runners[runners.index(victim)] = await run_sync(processes.runner, *backends)
    news = [await _news_of(log, job_id) for job_id in orphans]
    for job_id in jobs:
        await _until_ended(log, job_id)
    victim.send(signal.SIGCONT)
    victim.kill()
    if taken_over is not None:
        taken_over += [(recovered.time_ms - died_at_ms) / 1000 for recovered, _ in news]
    return [(resumed.time_ms - died_at_ms) / 1000 for _, resumed in news]


async def _until_accepted(log: Log, jobs: list[str]) -> None:
    for job_id in jobs:

        async def accepted(job_id: str = job_id) -> bool:
            return (await current(log, job_id)).attempt_state == "accepted"

        await eventually(accepted, within_s=60)


async def _until_ended(log: Log, job_id: str) -> None:
    async def ended() -> bool:
        return (await current(log, job_id)).is_terminal

    await eventually(ended, within_s=60)


async def _news_of(log: Log, job_id: str) -> tuple[Recorded, Recorded]:
    """Wait for a job's recovery and the next event; return both."""

    async def both() -> list[Recorded]:
        events = await job_events(log, job_id)
        at = [i for i, record in enumerate(events) if isinstance(record.event, Recovered)]
        return events[at[0] : at[0] + 2] if at and events[at[0] + 1 :] else []

    recovered, resumed = await eventually(both, within_s=60)
    return recovered, resumed


async def _many_orphans(url: str, folder: Path, count: int) -> tuple[float, float]:
    namespace = "orphans"
    async with Log.open(url, namespace=namespace) as log:
        graph = workflow(NODE_S)
        for start in range(0, count, 200):
            async with anyio.create_task_group() as tasks:
                for _ in range(start, min(start + 200, count)):
                    tasks.start_soon(log.submit, graph)
        await _claim_all(log, "dead", count)
        with bench_processes(folder, url, namespace) as processes:
            backend = processes.simulator()
            for _ in range(2):
                processes.runner(backend)
            died_at_ms = time.time_ns() // 1_000_000
            await register_runner(log, _entry("dead"))
            claims_ms = await _claim_times_ms(log, count)
    return (claims_ms[0] - died_at_ms) / 1000, (claims_ms[-1] - claims_ms[0]) / 1000


def _entry(runner: str) -> RunnerEntry:
    return RunnerEntry(runner=runner, host="", pid=0, queues=("default",), backends=(), since_ms=0)


async def _claim_all(log: Log, runner: str, count: int) -> None:
    dispatch, claimed = Dispatch(log, runner), 0
    while claimed < count:
        for partition in range(log.keys.partitions):
            claimed += len(await dispatch.claim(partition, ["default"], 500))


async def _claim_times_ms(log: Log, count: int) -> list[int]:
    with anyio.fail_after(120):
        while True:
            await anyio.sleep(0.5)
            times_ms = [
                record.time_ms
                for partition in range(log.keys.partitions)
                async for record in partition_events(log, partition)
                if isinstance(record.event, Recovered)
            ]
            if len(times_ms) >= count:
                return sorted(times_ms)


def report(found: RecoveryFigures) -> str:
    return "\n".join(
        [
            f"SIGKILL to resumed             {found.killed}   (target p99 <= 1.5 s)",
            f"SIGKILL 0 to 2 s after outage  {found.killed_after_outage}   (target p99 <= 2 s)",
            *(
                f"SIGKILL to {what}, {far.queues:2} queue{'s' * (far.queues > 1):1}, "
                f"{FAR_S * 1000:.0f} ms away   {times}   (target <= 4 s)"
                for far in found.killed_far
                for what, times in (("taken over", far.taken_over), ("resumed   ", far.resumed))
            ),
            f"SIGSTOP to resumed             {found.frozen}   (target p99 <= 13 s)",
            f"{found.orphans:,} orphans of one runner   detected after "
            f"{found.orphans_detected_s:.2f} s, all claimed {found.orphans_claimed_s:.2f} s later "
            "(target <= 2 s)",
        ]
    )
