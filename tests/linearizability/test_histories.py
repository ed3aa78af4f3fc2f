"""Real histories of concurrent clients, while their server fails: each job's is linearizable."""

from __future__ import annotations

import random

import anyio
import pytest

from everfold.embedded.engines import Engine
from everfold.streams.appending.log import Log
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events
from tests.failover.targets import ClusterTarget, Target, target
from tests.linearizability.checker import Call, check
from tests.linearizability.clients import Clients, clients
from tests.linearizability.job_model import Append, JobModel

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(300)]

AROUND_S = 1.0
"""How long clients call before a fault and after it."""

FAULTS = [
    *(("one", fault, 0) for fault in ("kill", "freeze")),
    *(("sentinel", fault, 1) for fault in ("kill", "coordinated")),
    ("cluster", "kill", 1),
    *(("cluster", fault, 0) for fault in ("planned", "move by keys", "move at once")),
]
"""Kind, fault, and replicas that each write waits for. Only what cannot lose a write belongs here:
a server by itself writes each command to its disk before it answers."""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "fault", "replicas"), FAULTS)
async def test_what_clients_see_of_a_job_could_have_happened_one_after_the_other(
    engine: Engine, full_length: bool, kind: str, fault: str, replicas: int
) -> None:
    chance = random.Random(1)
    with target(kind, engine, chance, replicas=2 if replicas else 1) as on:
        if fault not in on.faults:
            pytest.skip(f"{engine} has no {fault}")
        for seed in range(1, 11 if full_length else 2):
            made = await histories(on, fault, seed, replicas)
            for job_id, history in made.histories.items():
                verdict = check(history, JobModel())
                assert verdict.is_linearizable, _told(job_id, seed, verdict.longest, verdict.stuck)
            assert sum(not call.is_open for job in made.histories.values() for call in job) > 100


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["freeze", "partition"])
@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
async def test_what_all_replicas_have_keeps_its_place(
    engine: Engine, full_length: bool, kind: str, fault: str
) -> None:
    """A primary that does not know yet that another one has its place still answers reads, and what
    it has for itself is seen there: only what was acknowledged is sure."""
    with target(kind, engine, random.Random(1), replicas=2, network=fault == "partition") as on:
        if fault not in on.faults:
            pytest.skip(f"this machine has no {fault}")
        for seed in range(1, 11 if full_length else 2):
            made = await histories(on, fault, seed, replicas=2)
            kept = 0
            async with Log.open(on.url, namespace="histories") as log:
                for job_id, history in made.histories.items():
                    found = [id_of(record) for record in await job_events(log, job_id)]
                    for place, event_id in acknowledged(history):
                        assert found[place - 1] == event_id, (seed, job_id, place)
                        kept += 1
            assert kept > 50, seed


def acknowledged(history: list[Call]) -> list[tuple[int, str]]:
    """Return the place of each event whose append was answered."""
    return [
        (call.answer, call.asked.event_id)
        for call in history
        if isinstance(call.asked, Append) and isinstance(call.answer, int)
    ]


async def histories(on: Target, fault: str, seed: int, replicas: int) -> Clients:
    """Let clients call before a fault, during it and after it."""
    async with clients(on.url, "histories", seed, replicas=replicas) as made:
        if isinstance(on, ClusterTarget):
            on.keys = made.keys
        async with made.calling():
            await anyio.sleep(AROUND_S)
            await on.faults[fault]()
            await anyio.sleep(AROUND_S)
    return made


def id_of(record: Recorded) -> str:
    return getattr(record.event, "id", "")


def _told(job_id: str, seed: int, longest: tuple[Call, ...], stuck: tuple[Call, ...]) -> str:
    lines = [f"seed {seed}: {job_id} was at", *map(str, longest[-10:]), "and then none fits of"]
    return "\n".join([*lines, *map(str, stuck)])
