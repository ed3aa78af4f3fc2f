"""Whether a queue of a million waiting jobs is as fast as one of ten thousand.

The same operations at two servers, in turns, on 24 partitions: get a job, a page of a list (of all,
and of one user), a job's position, a claim as a runner does it, and a trim. What counts is the
processor time of a call, here and at the server. Beside them plain commands on the same keys: what
a server takes longer for where its data are in no cache of the processor.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from msgspec import Struct

from benchmarks.measuring.cpu import own_cpu_s, servers_cpu_s
from benchmarks.measuring.open_jobs import add_open_jobs
from benchmarks.measuring.server import bench_server
from benchmarks.measuring.table import Ratio, ratio
from everfold import Everfold
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.queues.waiting_jobs import in_order, peek_all
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_info
from everfold.streams.retention.trimming import trim

FEW, PARTITIONS = 10_000, 24
FLAT = 1.2

BARE = ", bare"
"""Ends the names of what has no target: it says what a server alone takes longer for."""

BLOCK = 20
"""Calls that are measured together; the first of each operation are not counted: connections."""

Operation = Callable[[int], Awaitable[object]]


class ManyOpenFigures(Struct, frozen=True):
    few: int
    many: int
    partitions: int
    ratios: list[Ratio]
    filled_s: float
    """How long the copies took."""
    bytes_per_job: float
    """Memory of the server for each of the many."""


class _Held:
    """A server with many jobs, and what is done there."""

    def __init__(self, everfold: Everfold, jobs: list[str], filled_s: float, size: float) -> None:
        self.filled_s, self.bytes_per_job = filled_s, size
        self.calls = _operations(everfold, jobs)
        self._redis = everfold.log.redis

    async def cost_ms(self, name: str, first: int) -> float:
        """Return the processor time of a call, on average over a block of them."""
        before_s = own_cpu_s() + sum(await servers_cpu_s(self._redis))
        for step in range(first, first + BLOCK):
            await self.calls[name](step)
        used_s = own_cpu_s() + sum(await servers_cpu_s(self._redis)) - before_s
        return used_s / BLOCK * 1000


async def measure_many_open(many: int, calls: int) -> ManyOpenFigures:
    async with _holding(FEW) as few, _holding(many) as lot:
        costs: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in few.calls}
        for turn in range(1 + calls // BLOCK):
            for name, found in costs.items():
                for held, ms in ((few, found[0]), (lot, found[1])):
                    cost_ms = await held.cost_ms(name, turn * BLOCK)
                    if turn:
                        ms.append(cost_ms)
    beside = f"{FEW:,} open jobs"
    ratios = [
        ratio(name, large, small, unit="ms of processor time", beside=beside, at_most=_target(name))
        for name, (small, large) in costs.items()
    ]
    return ManyOpenFigures(FEW, many, PARTITIONS, ratios, lot.filled_s, lot.bytes_per_job)


@asynccontextmanager
async def _holding(count: int) -> AsyncIterator[_Held]:
    """A server with so many waiting jobs, and what is done there."""
    async with bench_server() as (url, _):
        await _without_a_log_file(url)
        async with Everfold.connect(url, partitions=PARTITIONS) as everfold:
            empty = await _used(everfold)
            began_s = time.perf_counter()
            jobs = await add_open_jobs(everfold, count)
            filled_s = time.perf_counter() - began_s
            size = (await _used(everfold) - empty) / count
            yield _Held(everfold, jobs, filled_s, size)


async def _without_a_log_file(url: str) -> None:
    """A million copies are gigabytes of commands, which nobody reads again."""
    async with Everfold.connect(url, partitions=PARTITIONS) as everfold:
        await command(everfold.log.redis, "CONFIG SET", "appendonly", "no")


async def _used(everfold: Everfold) -> int:
    return int((await server_info(everfold.log.redis, "memory"))["used_memory"])


def _operations(everfold: Everfold, jobs: list[str]) -> dict[str, Operation]:
    log, dispatch = everfold.log, Dispatch(everfold.log, "bench")

    async def claim(_: int) -> None:
        """Look at all partitions, and take the job that stands first, as a runner does."""
        pages = await peek_all(log, range(log.keys.partitions), "default", each=1)
        first = in_order(pages)[0]
        found = await dispatch.claim_from(first.partition, "default", [(first.line, first.place)])
        assert found, "the first job was not claimed"

    async def ranks(step: int) -> None:
        """Ask each partition how many stand before a job, as a look at a position must."""
        asked = [(own[step % len(own)], at) for at, own in by_partition.items()]
        await log.redis.execute_all(("ZRANK", waiting[at], name) for name, at in asked)

    async def newest(step: int) -> None:
        """Read the newest jobs of each partition, and as many states as a page has."""
        names = [jobs[(50 * step + at) % len(jobs)] for at in range(50)]
        states = [("HGETALL", log.keys.jobs(log.keys.partition_of(n)).job(n)) for n in names]
        await log.redis.execute_all([*(("ZREVRANGE", key, 0, 49) for key in active), *states])

    by_partition: dict[int, list[str]] = {}
    for name in jobs:
        by_partition.setdefault(log.keys.partition_of(name), []).append(name)
    waiting = [log.keys.waiting(at, "default") for at in range(PARTITIONS)]
    active = [log.keys.jobs(at).active() for at in range(PARTITIONS)]
    return {
        "get": lambda step: everfold.get(jobs[step % len(jobs)]),
        "list, 50 queued": lambda _: everfold.list(statuses=["queued"], limit=50),
        "list, 10 of one user": lambda step: everfold.list(user=f"user-{step % 1_000}", limit=10),
        "position": lambda step: everfold.position(jobs[-1 - step % 500]),
        "claim": claim,
        "trim": lambda step: partial(trim, log, step % PARTITIONS, 0.0, needs_archive=False)(),
        f"ZRANK in each partition{BARE}": ranks,
        f"ZREVRANGE of each partition, HGETALL of 50 states{BARE}": newest,
    }


def _target(name: str) -> float | None:
    return None if name.endswith(BARE) else FLAT


def report(found: ManyOpenFigures) -> str:
    size = f"{found.many:,} jobs wait in {found.partitions} partitions"
    made = f"made in {found.filled_s:.0f} s, {found.bytes_per_job:,.0f} bytes each"
    return "\n".join((f"{size}; {made}", *map(str, found.ratios)))
