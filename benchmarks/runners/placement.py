"""Which server gets which job, and what that makes of the time that a batch takes.

Two simulators, one four times as fast as the other: 0.8 and 3.2 s per job at SCALE 1. The ideal is
computed from how long the jobs of this very run took at each server: the best share of the jobs for
each, with no pause between two jobs.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean

import anyio
import httpx
from msgspec import Struct

from benchmarks.measuring.table import Ratio, ratio
from benchmarks.runners.small_farm import Execution, graph, overtakes, small_farm

SCALE = 2.0
"""How much shorter everything is than in the recorded paces."""

SLOW_S, TIMES_FASTER = 3.2 / SCALE, 4.0
CHECKPOINTS = ("sd_xl_base_1.0.safetensors", "v1-5-pruned-emaonly.safetensors")
MODEL_JOBS, MODEL_JOB_S = 40, 0.3
SWITCHES_MOST = 4
AWAY_S = 4.0
FOREIGN = 3


class PlacementFigures(Struct, frozen=True):
    ratios: list[Ratio]
    """Makespans beside ideals: of one runner with both servers, and of a runner for each."""
    switches: list[int]
    """Times that a server loaded another checkpoint, its first load not counted, of each run."""
    overtaken: list[int]
    """How many later jobs were started before the one that most were started before."""
    own_share: float
    """Of the prompts that a server executed, beside FOREIGN of others that always wait there."""
    return_s: list[float]
    """From the moment at which a server answers again until it has its first job."""


async def measure_placement(jobs: int, repeat: int) -> PlacementFigures:
    one, each = list[tuple[float, float]](), list[tuple[float, float]]()
    switches, overtaken, returns = list[int](), list[int](), list[float]()
    for seed in range(repeat):
        one.append(await _makespan(jobs, is_shared=True))
        each.append(await _makespan(jobs, is_shared=False))
        changed, passed = await _switches(seed)
        switches.append(changed)
        overtaken.append(passed)
        returns.append(round(await _return_s(), 2))
    ratios = [_ratio("one runner, both servers", one), _ratio("a runner for each server", each)]
    return PlacementFigures(ratios, switches, overtaken, round(await _own_share(), 3), returns)


def _ratio(name: str, found: Sequence[tuple[float, float]]) -> Ratio:
    ours, ideal = [a for a, _ in found], [b for _, b in found]
    return ratio(f"makespan, {name}", ours, ideal, unit="s", beside="ideal", at_most=1.1)


async def _makespan(jobs: int, *, is_shared: bool) -> tuple[float, float]:
    """Return how long the jobs took, and how long they would have taken at best."""
    async with small_farm() as farm:
        urls = [farm.simulator(), farm.simulator(TIMES_FASTER)]
        for number in range(jobs):
            await farm.everfold.submit(graph(number, SLOW_S))
        for served in [urls] if is_shared else [[url] for url in urls]:
            options = [part for url in served for part in ("--comfyui", url)]
            farm.processes.everfold_runner(*options)
        ran = await farm.executions(jobs)
    return max(one.ended_s for one in ran) - ran[0].started_s, ideal_s(ran)


def ideal_s(ran: Sequence[Execution]) -> float:
    """Return the least time for as many jobs, at the servers' pace in this run."""
    paces = [
        mean([one.ended_s - one.started_s for one in ran if one.server == server] or [SLOW_S])
        for server in (0, 1)
    ]
    jobs = len(ran)
    return min(max(n * paces[0], (jobs - n) * paces[1]) for n in range(jobs + 1))


async def _switches(seed: int) -> tuple[int, int]:
    """Run jobs of two checkpoints in an order of their own on two equal servers."""
    checkpoints = [*CHECKPOINTS] * (MODEL_JOBS // 2)
    random.Random(seed).shuffle(checkpoints)
    async with small_farm() as farm:
        urls = [farm.simulator(), farm.simulator()]
        jobs = [
            (await farm.everfold.submit(graph(n, MODEL_JOB_S, checkpoint))).job_id
            for n, checkpoint in enumerate(checkpoints)
        ]
        farm.processes.everfold_runner("--comfyui", urls[0], "--comfyui", urls[1])
        ran = await farm.executions(MODEL_JOBS)
    number = {job_id: place for place, job_id in enumerate(jobs)}
    loads = [[checkpoints[number[o.job_id]] for o in ran if o.server == s] for s in (0, 1)]
    changed = sum(a != b for one in loads for a, b in pairwise(one))
    return changed, max(overtakes([number[one.job_id] for one in ran]))


async def _own_share() -> float:
    """Return the share of our jobs at a server where others always have FOREIGN prompts."""
    ours, job_s = 8, 0.2
    async with small_farm() as farm, httpx.AsyncClient() as client:
        url = farm.simulator()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_keep_queued, client, url, job_s)
            await anyio.sleep(1.0)
            for number in range(ours):
                await farm.everfold.submit(graph(number, job_s))
            began_s = time.time()
            farm.processes.everfold_runner("--comfyui", url)
            while True:
                ran = await farm.executions(1)
                own = [one for one in ran if one.job_id]
                if len(own) == ours:
                    break
                await anyio.sleep(0.2)
            tasks.cancel_scope.cancel()
    during = [o for o in ran if max(began_s, own[0].accepted_s) <= o.started_s <= own[-1].started_s]
    return ours / len(during)


async def _keep_queued(client: httpx.AsyncClient, url: str, job_s: float) -> None:
    """Be another client of a server, whose prompts always wait there."""
    number = 1_000
    while True:
        queue = (await client.get(f"{url}/queue")).json()
        waiting = [*queue["queue_running"], *queue["queue_pending"]]
        for _ in range(FOREIGN - sum("everfold" not in row[3] for row in waiting)):
            number += 1
            body = {"prompt": graph(number, job_s), "client_id": "stranger"}
            (await client.post(f"{url}/prompt", json=body)).raise_for_status()
        await anyio.sleep(0.02)


async def _return_s() -> float:
    """Kill the only server, start it again after a while, and wait for its next job."""
    async with small_farm() as farm:
        first = farm.processes.start_simulator()
        url = first.first_line.split()[-1]
        farm.servers.append(url)
        farm.processes.everfold_runner("--comfyui", url)
        await farm.everfold.submit(graph(0, 0.05))
        await farm.executions(1)
        first.send(signal.SIGKILL)
        for number in range(1, 7):
            await farm.everfold.submit(graph(number, 0.05))
        await anyio.sleep(AWAY_S)
        farm.simulator(port=int(url.rpartition(":")[2]))
        answers_s = time.time()
        return (await farm.executions(1))[0].accepted_s - answers_s


def report(found: PlacementFigures) -> str:
    switches, returned = max(found.switches), max(found.return_s)
    least_share = 1 / (1 + FOREIGN)
    lines = [
        *map(str, found.ratios),
        f"model switches of {MODEL_JOBS} jobs with two checkpoints on two servers: "
        f"{_list(found.switches)} (target <= {SWITCHES_MOST}: "
        f"{_verdict(switches <= SWITCHES_MOST)})",
        f"          a job was overtaken by {_list(found.overtaken)} others at most",
        f"our share of a server where {FOREIGN} prompts of others always wait: "
        f"{found.own_share:.0%} (one of {1 + FOREIGN} places: {least_share:.0%})",
        f"a server that returns has its first job after {_list(found.return_s)} s "
        f"(target <= 1: {_verdict(returned <= 1)})",
    ]
    return "\n".join(lines)


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "MISSED"
