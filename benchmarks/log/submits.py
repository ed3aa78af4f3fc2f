"""How many jobs a second are submitted, by one call of `submit_many`, and by callers of `submit`.

Beside both stands what a server is able to: a pipeline that writes a hash and an entry of each job
to a stream, of the same bytes, without any check, place or order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import anyio
from msgspec import Struct
from redis.asyncio import Redis

from benchmarks.measuring.cpu import own_cpu_s, servers_cpu_s
from benchmarks.measuring.server import bench_server
from benchmarks.measuring.table import Ratio, ratio
from everfold.client import Everfold
from everfold.streams.redis.redis_errors import command
from everfold.submitting import SubmittedJob

CALLERS = 100
PIPELINE = 500
TARGET_PER_S = 20_000

Graph = dict[str, dict[str, object]]


class SubmitFigures(Struct, frozen=True):
    ratios: list[Ratio]
    costs: dict[str, tuple[float, float]]
    """Name -> processor time of client and server for a job, in microseconds, of the last run."""


def graph(seed: int) -> Graph:
    """A graph of seven nodes."""
    inputs = {"steps": 20, "model": ["1", 0], "text": "a photo of a cat"}
    return {
        str(node): {"class_type": "KSampler", "inputs": {**inputs, "seed": seed + node}}
        for node in range(1, 8)
    }


async def measure_submits(jobs: int, repeat: int) -> SubmitFigures:
    rates: dict[str, list[float]] = {}
    costs: dict[str, tuple[float, float]] = {}
    same, other = [graph(0)] * jobs, [graph(seed) for seed in range(jobs)]
    for _ in range(repeat):
        await _measure("submit_many, one graph", same, rates, costs, one_call=True)
        await _measure("submit_many, a graph each", other, rates, costs, one_call=True)
        await _measure("submit", same[: jobs // 5], rates, costs, one_call=False)
        rates.setdefault("pipeline", []).append(await _pipeline(jobs))
    return SubmitFigures(_ratios(rates), costs)


async def _measure(
    name: str,
    graphs: Sequence[Graph],
    rates: dict[str, list[float]],
    costs: dict[str, tuple[float, float]],
    *,
    one_call: bool,
) -> None:
    async with bench_server() as (url, _), Everfold.connect(url) as client:
        await client.log.make()
        server_s, own_s, began_s = await servers_cpu_s(client.log.redis), own_cpu_s(), time.time()
        if one_call:
            found = await client.submit_many(graphs)
            assert all(isinstance(one, SubmittedJob) for one in found)
        else:
            async with anyio.create_task_group() as tasks:
                for first in range(CALLERS):
                    tasks.start_soon(partial(_submit_each, client, graphs[first::CALLERS]))
        took_s, own_s = time.time() - began_s, own_cpu_s() - own_s
        used_s = sum(await servers_cpu_s(client.log.redis)) - sum(server_s)
    rates.setdefault(name, []).append(len(graphs) / took_s)
    costs[name] = (own_s / len(graphs) * 1e6, used_s / len(graphs) * 1e6)


async def _submit_each(client: Everfold, graphs: Sequence[Graph]) -> None:
    for one in graphs:
        await client.submit(one)


async def _pipeline(jobs: int) -> float:
    """Write what a job's head and first event hold, and nothing else."""
    async with bench_server() as (url, _), Everfold.connect(url) as client:
        job_id = (await client.submit(graph(0))).job_id
        redis, keys = client.log.redis, client.log.keys
        head = await command(redis, "HGETALL", keys.head(job_id))
        entries = await command(redis, "XRANGE", keys.log(keys.partition_of(job_id)), "-", "+")
        assert isinstance(head, list)
        assert isinstance(entries, list)
        bare, began_s = Redis.from_url(url), time.time()
        for first in range(0, jobs, PIPELINE):
            pipeline = bare.pipeline(transaction=False)
            for number in range(first, min(first + PIPELINE, jobs)):
                pipeline.execute_command("HSET", f"head:{number}", *head)
                pipeline.execute_command("XADD", f"log:{number % 24}", "*", *entries[0][1])
            await pipeline.execute()
        rate = jobs / (time.time() - began_s)
        await bare.aclose()
        return rate


def _ratios(rates: dict[str, list[float]]) -> list[Ratio]:
    beside = f"redis-py, pipelines of {PIPELINE} HSET and XADD"
    found = [
        ratio(name, rates[name], rates["pipeline"], unit="jobs/s", beside=beside)
        for name in rates
        if name != "pipeline"
    ]
    many, single = rates["submit_many, one graph"], rates["submit"]
    told = f"{CALLERS} callers of submit"
    return [*found, ratio("submit_many", many, single, unit="jobs/s", beside=told)]


def report(found: SubmitFigures) -> str:
    lines = [
        f"{name}: {client:.0f} us of the client's processor a job, {server:.0f} of the server's"
        for name, (client, server) in found.costs.items()
    ]
    target = f"target of submit_many: {TARGET_PER_S:,} jobs/s"
    return "\n".join([*map(str, found.ratios), *lines, target])
