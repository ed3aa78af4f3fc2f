"""What three masters carry beside one, and what work costs on them that goes over all partitions.

Rule: processor time, of servers and of this process, in turns, at two clusters of plain processes
with 24 partitions. How much N masters carry is told by the busiest of them; what is read of all
partitions is to cost the same, of all processes together.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

import anyio
from msgspec import Struct

from benchmarks.log.append import append
from benchmarks.measuring.cpu import own_cpu_s, servers_cpu_s
from benchmarks.measuring.open_jobs import GRAPH, project
from benchmarks.measuring.table import Ratio, ratio
from everfold import Everfold
from everfold.diagnosis.examination import examine
from everfold.embedded.engines import engines
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.event import Progressed, Queued, Started, Submitting, Succeeded
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.producer import Producer
from everfold.streams.queues.waiting_jobs import in_order, peek_all
from tests.support.groups.cluster import cluster

MASTERS, PARTITIONS = 3, 24
MORE, SAME = 2.5, 1.3

CALLERS = 240
"""Jobs that are appended to at the same time."""

JOBS, CLAIMS, LISTS, DOCTORS = 480, 60, 40, 3


class ClusterFigures(Struct, frozen=True):
    carried: list[Ratio]
    """What one master uses over what the busiest of three uses."""
    same: list[Ratio]
    """What all processes use on three masters over what they use on one."""
    client_us: dict[str, float]
    """Processor time of this process, of each event and job."""


class _Used(Struct, frozen=True):
    """Processor time in seconds, of each of the things that were done."""

    own: float
    servers: list[float]

    @property
    def busiest(self) -> float:
        return max(self.servers)

    @property
    def all(self) -> float:
        return self.own + sum(self.servers)


Turn = dict[str, _Used]


async def measure_cluster(events: int, repeat: int) -> ClusterFigures:
    turns: dict[int, list[Turn]] = {1: [], MASTERS: []}
    engine = next(one for one in engines(os.environ) if not one.is_too_old)
    with (
        cluster(engine, masters=1, replicas=0, appendonly="yes") as one,
        cluster(engine, masters=MASTERS, replicas=0, appendonly="yes") as three,
    ):
        for number in range(1 + repeat):
            for masters, url in ((1, one.url), (MASTERS, three.url)):
                few = events if number else events // 10  # the first one warms up
                found = await _turn(url, f"bench-{number}", few)
                if number:
                    turns[masters].append(found)
    return _figures(turns)


def _figures(turns: dict[int, list[Turn]]) -> ClusterFigures:
    def of(masters: int, name: str, value: Callable[[_Used], float]) -> list[float]:
        return [value(turn[name]) * 1e6 for turn in turns[masters]]

    carried = [
        ratio(
            name,
            of(1, name, lambda used: used.busiest),
            of(MASTERS, name, lambda used: used.busiest),
            unit="us of one master",
            beside=f"us of the busiest of {MASTERS} masters",
            at_least=MORE,
        )
        for name in ("append, of an event", "the life of a job")
    ]
    same = [
        ratio(
            name,
            of(MASTERS, name, lambda used: used.all),
            of(1, name, lambda used: used.all),
            unit="us of all processes",
            beside="one master",
            at_most=SAME,
        )
        for name in ("claim", "list", "projector, of an event", "doctor")
    ]
    client = {one.name: min(of(MASTERS, one.name, lambda used: used.own)) for one in carried}
    return ClusterFigures(carried, same, client)


async def _turn(url: str, namespace: str, events: int) -> Turn:
    async with Everfold.connect(url, namespace=namespace, partitions=PARTITIONS) as everfold:
        log = everfold.log
        leases = await _leases(everfold)
        appended = await _used(log, lambda: append_all(log, leases, events), events)
        folded = await _used(log, lambda: project(log), events)
        life = await _used(log, lambda: lives(everfold, JOBS), JOBS)
        for _ in range(CLAIMS):
            await everfold.submit(GRAPH)
        await project(log)
        return {
            "append, of an event": appended,
            "projector, of an event": folded,
            "the life of a job": life,
            "list": await _used(log, lambda: _lists(everfold), LISTS),
            "claim": await _used(log, lambda: _claims(log), CLAIMS),
            "doctor": await _used(log, lambda: _doctors(log), DOCTORS),
        }


async def _used(log: Log, work: Callable[[], Awaitable[object]], things: int) -> _Used:
    before, own_s = await servers_cpu_s(log.redis), own_cpu_s()
    await work()
    own = own_cpu_s() - own_s
    after = await servers_cpu_s(log.redis)
    each = [(now - then) / things for now, then in zip(after, before, strict=True)]
    return _Used(own / things, each)


async def _leases(everfold: Everfold) -> list[Lease]:
    """Lease CALLERS jobs, as many of each partition as there are."""
    await submit_all(everfold, CALLERS)
    found, dispatch = list[Lease](), Dispatch(everfold.log, "bench")
    for partition in range(PARTITIONS):
        found += await dispatch.claim(partition, ["default"], CALLERS)
    return found


async def append_all(log: Log, leases: Sequence[Lease], events: int) -> None:
    """Append so many events, of all jobs at the same time."""
    each = events // len(leases)

    async def work(lease: Lease) -> None:
        for step in range(each):
            await append(log, lease, step)

    async with anyio.create_task_group() as tasks:
        for lease in leases:
            tasks.start_soon(work, lease)


async def submit_all(everfold: Everfold, count: int) -> None:
    """Submit so many jobs at the same time."""
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(everfold.submit, GRAPH)


async def lives(everfold: Everfold, jobs: int) -> None:
    """Submit jobs, carry all of them to their ends, sixteen at a time, and fold that."""
    await submit_all(everfold, jobs)
    producer, ended = Producer(everfold.log, "bench-life"), 0
    while ended < jobs:
        leases = await producer.claim(16, wait_s=5)
        async with anyio.create_task_group() as tasks:
            for lease in leases:
                tasks.start_soon(live, producer, lease)
        ended += len(leases)
    await project(everfold.log)


async def live(producer: Producer, lease: Lease) -> None:
    """Carry a job to its end with ten events, besides its submit and its claim."""
    place = Submitting(attempt=1, backend="b", boot="", prompt_id="p", client_id="c")
    await producer.append(lease, place)
    await producer.append(lease, Queued(attempt=1, prompt_id="p"))
    await producer.append(lease, Started(attempt=1))
    for part in range(6):
        told = Progressed(attempt=1, value=part / 6, nodes_done=part, nodes_total=6)
        await producer.append(lease, told)
    await producer.finish(lease, Succeeded(attempt=1, outputs={}))


async def _lists(everfold: Everfold) -> None:
    for _ in range(LISTS):
        await everfold.list(limit=50)


async def _claims(log: Log) -> None:
    dispatch = Dispatch(log, "bench-claim")
    for _ in range(CLAIMS):
        first = in_order(await peek_all(log, range(PARTITIONS), "default", each=1))[0]
        await dispatch.claim_from(first.partition, "default", [(first.line, first.place)])


async def _doctors(log: Log) -> None:
    for _ in range(DOCTORS):
        async for _finding in examine(log, {}, {}):
            pass


def report(found: ClusterFigures) -> str:
    return "\n".join(
        (
            f"{PARTITIONS} partitions; what one master uses over the busiest of {MASTERS}",
            *map(str, found.carried),
            f"what all processes use on {MASTERS} masters over one",
            *map(str, found.same),
            *(
                f"          this process: {us:,.0f} us, {name}"
                for name, us in found.client_us.items()
            ),
        )
    )
