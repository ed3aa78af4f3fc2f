"""What a runner costs short jobs: jobs of 15 ms on one server, beside a loop that posts directly.

The loop has as many tasks as the runner has slots. Each keeps one websocket for all its prompts,
posts one, waits for its end, reads its history and posts the next, and records nothing. When the
server ran what is read from its ledger.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple
from uuid import uuid4

import anyio
import httpx
import msgspec
from msgspec import Struct
from websockets.asyncio.client import connect

from benchmarks.measuring.table import Ratio, ratio
from benchmarks.runners.farm import cpu_s
from benchmarks.runners.small_farm import Execution, SmallFarm, graph, small_farm
from everfold.simulator.worker import HISTORY_LAG_S

JOB_S = 0.015
SLOTS = (1, 2, 4)
WITHIN_S = 120.0
WARM_UP = 10
"""Prompts that come first and are not counted: connections are opened, and code is imported."""
HISTORY_PAUSE_S = 0.002


class Turn(NamedTuple):
    """One run of all jobs."""

    jobs_per_s: float
    idle_ms: float
    """Median time between two prompts in which the server runs none."""
    cpu_ms: float
    """Processor time of the runner's process for each job; 0 for the loop."""


class OverheadFigures(Struct, frozen=True):
    ratios: list[Ratio]
    """Seconds per job, by the number of slots."""
    idle_ms: list[tuple[int, float, float]]
    """By the number of slots: of the runner's jobs, and of the loop's."""
    cpu_ms: list[tuple[int, float]]
    """Of the runner's process for each job."""
    requests: dict[str, float]
    """That the server was sent for each job of a runner with the most slots."""


async def measure_overhead(jobs: int, repeat: int, slots: Sequence[int] = SLOTS) -> OverheadFigures:
    """Let the runner and the loop take turns."""
    ratios, idle, cpu = list[Ratio](), list[tuple[int, float, float]](), list[tuple[int, float]]()
    requests = dict[str, float]()
    for count in slots:
        ours, bare = list[Turn](), list[Turn]()
        for _ in range(repeat):
            bare.append(await _bare(jobs, count))
            turn, requests = await _everfold(jobs, count)
            ours.append(turn)
        times = [[1000 / turn.jobs_per_s for turn in turns] for turns in (ours, bare)]
        beside = f"a loop of {count} that posts directly"
        name = f"time of a job of {JOB_S * 1000:g} ms, slots = {count}"
        ratios.append(ratio(name, *times, unit="ms", beside=beside, at_most=1.3))
        idle_ms = [median(turn.idle_ms for turn in turns) for turns in (ours, bare)]
        idle.append((count, idle_ms[0], idle_ms[1]))
        cpu.append((count, round(median(turn.cpu_ms for turn in ours), 2)))
    return OverheadFigures(ratios, idle, cpu, requests)


async def _everfold(jobs: int, slots: int) -> tuple[Turn, dict[str, float]]:
    """Submit all jobs, then start the runner."""
    async with small_farm() as farm:
        url = farm.simulator()
        for number in range(jobs + WARM_UP):
            await farm.everfold.submit(graph(_color(number), JOB_S))
        runner = farm.processes.everfold_runner("--comfyui", url, "--slots", str(slots))
        before_s = cpu_s(runner.child.pid)
        ran = await _executions(farm, jobs + WARM_UP)
        used_s = cpu_s(runner.child.pid) - before_s
        async with httpx.AsyncClient() as client:
            sent = (await client.get(f"{url}/simulator/requests")).json()
        requests = {name: round(count / (jobs + WARM_UP), 2) for name, count in sent.items()}
        return _turn(ran, used_s / (jobs + WARM_UP)), requests


async def _bare(jobs: int, concurrency: int) -> Turn:
    async with small_farm() as farm:
        url, numbers = farm.simulator(), iter(range(jobs + WARM_UP))
        async with httpx.AsyncClient(base_url=url) as client, anyio.create_task_group() as tasks:
            for _ in range(concurrency):
                tasks.start_soon(_post_directly, client, url, numbers)
        return _turn(await _executions(farm, jobs + WARM_UP), 0.0)


async def _post_directly(client: httpx.AsyncClient, url: str, numbers: Iterator[int]) -> None:
    """Run one prompt after the other until there are no more numbers."""
    client_id = str(uuid4())
    address = f"{url.replace('http', 'ws', 1)}/ws?clientId={client_id}"
    async with connect(address, max_size=None, compression=None) as socket:
        for number in numbers:
            prompt_id = str(uuid4())
            body = {"prompt": graph(_color(number), JOB_S), "prompt_id": prompt_id}
            sent = await client.post("/prompt", json={**body, "client_id": client_id})
            sent.raise_for_status()
            async for message in socket:
                if isinstance(message, str) and _is_over(message, prompt_id):
                    break
            while not (await client.get(f"/history/{prompt_id}")).json():  # noqa: ASYNC110
                await anyio.sleep(HISTORY_PAUSE_S)


class _About(Struct):
    prompt_id: str = ""


class _Message(Struct):
    type: str
    data: _About


def _is_over(message: str, prompt_id: str) -> bool:
    said = msgspec.json.decode(message, type=_Message)
    return said.type == "execution_success" and said.data.prompt_id == prompt_id


def _color(number: int) -> int:
    """Return what makes a result of its own: the server keeps those that it has."""
    return random.Random(number).getrandbits(24)


async def _executions(farm: SmallFarm, jobs: int) -> list[Execution]:
    with anyio.fail_after(WITHIN_S):
        return await farm.executions(jobs)


def _turn(ran: Sequence[Execution], cpu_of_job_s: float) -> Turn:
    counted = ran[WARM_UP:]
    took_s = counted[-1].ended_s - ran[WARM_UP - 1].ended_s
    # The server takes no other prompt until the history of the one before it is written.
    idle_s = [later.started_s - one.ended_s - HISTORY_LAG_S for one, later in pairwise(counted)]
    idle_ms = round(max(0.0, median(idle_s)) * 1000, 1)
    return Turn(len(counted) / took_s, idle_ms, cpu_of_job_s * 1000)


def report(found: OverheadFigures) -> str:
    lines = [str(one) for one in found.ratios]
    for (slots, ours, bare), (_, cpu_ms) in zip(found.idle_ms, found.cpu_ms, strict=True):
        verdict = "met" if ours <= 3.0 else "MISSED"
        lines.append(
            f"slots = {slots}: the server idles {ours:g} ms between two prompts (p50; target <= 3: "
            f"{verdict}), {bare:g} with the loop; the runner uses {cpu_ms:g} ms of a core per job"
        )
    sent = ", ".join(f"{name} {count:g}" for name, count in sorted(found.requests.items()))
    lines.append(f"requests per job: {sent}")
    return "\n".join(lines)
