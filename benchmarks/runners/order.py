"""In which order waiting jobs are started, and what that order costs the server.

The jobs are submitted one after the other before the runners start, into one queue of 8 partitions.
Servers are simulators; what a claim cost before waiting jobs stood in sorted sets is measured with
the code of that time, out of the repository's history.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import anyio
import msgspec
from anyio.to_thread import run_sync
from msgspec import Struct

from benchmarks.measuring.server import bench_server
from benchmarks.measuring.table import Ratio, ratio
from benchmarks.runners.small_farm import (
    Execution,
    SmallFarm,
    displacement,
    graph,
    inverted,
    small_farm,
)
from everfold.streams.events.event import Policy, Retried
from everfold.streams.reading.reader import job_events

BEFORE = "f6d1428c0946924512cfbddea3f4e7e4b8c8a9dc"
"""The last commit at which waiting jobs stood in a stream per partition and priority."""

ROOT = Path(__file__).parents[2]
RUNNERS, SLOTS = 3, 2
JOB_S = 0.02

SEVERAL_JOB_S = 0.15
"""With several runners: longer than a job takes from its claim to its start."""


class Order(Struct, frozen=True):
    """Jobs that were started in an order other than that of their submits."""

    jobs: int
    runners: int
    slots: int
    """Of all their servers together."""
    inverted: float
    """Share of all pairs."""
    displacement: int
    """Of the most displaced job."""


class Cost(Struct, frozen=True):
    step: str
    calls: float
    """Calls of scripts per job."""
    calls_before: float


class OrderFigures(Struct, frozen=True):
    orders: list[Order]
    place_of_bob: int
    """Of one job behind forty of another user; 2 is the second."""
    high_behind_normal: int
    """Pairs of a job that came before one of a higher priority."""
    retry_s: float
    """From the end of the back-off to the next attempt's start, while others wait."""
    retry_job_s: float
    """How long each of those others takes at the only server."""
    ratios: list[Ratio]
    costs: list[Cost]


async def measure_order(jobs: int, repeat: int) -> OrderFigures:
    orders = [await _order(count, 1, 1) for count in (40, jobs)]
    orders += [await _order(count, RUNNERS, SLOTS) for count in (40, jobs)]
    ratios, costs = await _costs(repeat)
    retry_job_s = 0.3
    return OrderFigures(
        orders=orders,
        place_of_bob=await _place_of_bob(),
        high_behind_normal=await _high_behind_normal(),
        retry_s=round(await _retry_s(retry_job_s), 2),
        retry_job_s=retry_job_s,
        ratios=ratios,
        costs=costs,
    )


async def _run(farm: SmallFarm, jobs: Sequence[str], runners: int, slots: int) -> list[Execution]:
    """Start the runners, with a server each; return the executions in the order of their starts."""
    servers = [farm.simulator() for _ in range(runners)]
    for server in servers:
        farm.processes.everfold_runner("--comfyui", server, "--slots", str(slots))
    return await farm.executions(len(jobs))


async def _order(count: int, runners: int, slots: int) -> Order:
    job_s = JOB_S if runners == 1 else SEVERAL_JOB_S
    async with small_farm() as farm:
        jobs = [
            (await farm.everfold.submit(graph(n, job_s), user="ada")).job_id for n in range(count)
        ]
        ran = await _run(farm, jobs, runners, slots)
    number = {job_id: place for place, job_id in enumerate(jobs)}
    started = [number[one.job_id] for one in ran]
    found = (round(inverted(started), 4), displacement(started))
    return Order(count, runners, runners * slots, *found)


async def _place_of_bob() -> int:
    async with small_farm() as farm:
        jobs = [
            (await farm.everfold.submit(graph(n, JOB_S), user="ada" if n < 40 else "bob")).job_id
            for n in range(41)
        ]
        ran = await _run(farm, jobs, 1, 1)
    return [one.job_id for one in ran].index(jobs[40]) + 1


async def _high_behind_normal() -> int:
    """Start jobs of both priorities that were submitted in turns."""
    async with small_farm() as farm:
        urgent: dict[str, bool] = {}
        for number in range(40):
            is_high = number % 2 == 1
            job = await farm.everfold.submit(
                graph(number, JOB_S), priority="high" if is_high else "normal"
            )
            urgent[job.job_id] = is_high
        ran = await _run(farm, list(urgent), 1, 1)
    started = [urgent[one.job_id] for one in ran]
    return sum(sum(started[at:]) for at, is_high in enumerate(started) if not is_high)


async def _retry_s(job_s: float) -> float:
    """Let the first job fail once for a lack of memory; measure when it is tried again."""
    policy = Policy(retries=1, retry_backoff_s=1.0)
    async with small_farm() as farm:
        nodes = graph(0, job_s)
        nodes["2"] = {"class_type": "JTOom", "inputs": {"image": ["1", 0]}}
        failing = (await farm.everfold.submit(nodes, policy=policy)).job_id
        jobs = [(await farm.everfold.submit(graph(n, job_s))).job_id for n in range(1, 12)]
        ran = await _run(farm, [failing, failing, *jobs], 1, 1)
        events = [record.event for record in await job_events(farm.everfold.log, failing)]
    due_ms = next(event.not_before_ms for event in events if isinstance(event, Retried))
    return [one.started_s for one in ran if one.job_id == failing][1] - due_ms / 1000


async def _costs(repeat: int) -> tuple[list[Ratio], list[Cost]]:
    """Run order_cost.py on this code and on the earlier one, in turns."""
    with TemporaryDirectory(prefix="everfold-before-") as name:
        if not await run_sync(_unpack, Path(name)):
            return [], []
        ours = list[dict[str, dict[str, float]]]()
        theirs = list[dict[str, dict[str, float]]]()
        for _ in range(repeat):
            ours.append(await _cost(ROOT))
            theirs.append(await _cost(Path(name)))
    ratios = [
        ratio(
            f"server's time per job: {step}",
            [run[step]["us"] for run in ours],
            [run[step]["us"] for run in theirs],
            unit="us",
            beside="before sorted sets",
        )
        for step in ours[0]
    ]
    costs = [
        Cost(step, *(round(median(r[step]["calls"] for r in runs), 2) for runs in (ours, theirs)))
        for step in ours[0]
    ]
    return ratios, costs


def _unpack(folder: Path) -> bool:
    """Write the earlier code into a folder; False where the history does not have it."""
    packed = subprocess.run(["git", "-C", ROOT, "archive", BEFORE], capture_output=True)
    if packed.returncode:
        return False
    subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)
    return True


async def _cost(code: Path) -> dict[str, dict[str, float]]:
    async with bench_server() as (url, _):
        call = [sys.executable, "-P", str(ROOT / "benchmarks" / "runners" / "order_cost.py"), url]
        environ = {**os.environ, "PYTHONPATH": str(code)}
        with anyio.fail_after(120):
            done = await anyio.run_process(call, env=environ)
    return msgspec.json.decode(done.stdout, type=dict[str, dict[str, float]])


def report(found: OrderFigures) -> str:
    lines = [str(one) for one in found.ratios] or ["the history has no earlier code to compare"]
    lines += [
        f"          {one.step}: {one.calls:g} script calls per job, before {one.calls_before:g}"
        for one in found.costs
    ]
    for one in found.orders:
        most = 0 if one.slots == 1 else one.slots
        lines.append(
            f"{one.jobs} jobs, {one.runners} runner(s) with {one.slots} slots: "
            f"{one.inverted:.2%} of the pairs inverted, the most displaced job by "
            f"{one.displacement} (target <= {most}: {_verdict(one.displacement <= most)})"
        )
    lines += [
        f"a job behind forty of another user is started as number {found.place_of_bob} "
        f"(target 2: {_verdict(found.place_of_bob == 2)})",
        f"pairs of a normal job before a high one: {found.high_behind_normal} "
        f"(target 0: {_verdict(found.high_behind_normal == 0)})",
        f"a retry begins {found.retry_s:.2f} s after its back-off, behind jobs of "
        f"{found.retry_job_s:g} s at a server with one slot",
    ]
    return "\n".join(lines)


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "MISSED"
