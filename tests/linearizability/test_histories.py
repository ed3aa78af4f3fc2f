"""Real histories of concurrent clients, while their server fails: each job's is linearizable."""

from __future__ import annotations

import random

import anyio
import pytest

from everfold.embedded.engines import Engine
from tests.failover.targets import ClusterTarget, target
from tests.linearizability.checker import Call, check
from tests.linearizability.clients import clients
from tests.linearizability.job_model import JobModel

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(300)]

AROUND_S = 1.0
"""How long clients call before a fault and after it."""

FAULTS = [
    *(("one", fault, 0) for fault in ("kill", "freeze")),
    *(("sentinel", fault, 1) for fault in ("kill", "freeze", "partition", "coordinated")),
    *(("cluster", fault, 1) for fault in ("kill", "freeze", "partition")),
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
    network, beside = fault == "partition", 2 if replicas else 1
    with target(kind, engine, chance, replicas=beside, network=network) as on:
        if fault not in on.faults:
            pytest.skip(f"{engine} or this machine has no {fault}")
        for seed in range(1, 11 if full_length else 2):
            async with clients(on.url, "histories", seed, replicas=replicas) as made:
                if isinstance(on, ClusterTarget):
                    on.keys = made.keys
                async with made.calling():
                    await anyio.sleep(AROUND_S)
                    await on.faults[fault]()
                    await anyio.sleep(AROUND_S)
            for job_id, history in made.histories.items():
                verdict = check(history, JobModel())
                assert verdict.is_linearizable, _told(job_id, seed, verdict.longest, verdict.stuck)
            assert sum(not call.is_open for job in made.histories.values() for call in job) > 100


def _told(job_id: str, seed: int, longest: tuple[Call, ...], stuck: tuple[Call, ...]) -> str:
    lines = [f"seed {seed}: {job_id} was at", *map(str, longest[-10:]), "and then none fits of"]
    return "\n".join([*lines, *map(str, stuck)])
