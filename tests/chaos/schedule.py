"""What goes wrong in a round, and when: a pure function of the seed."""

from __future__ import annotations

import random

from msgspec import Struct

ROUND_S = 5.0
JOBS = 12

FAULTS: dict[str, float] = {
    "kill_runner": 3,
    "freeze_runner_short": 2,
    "freeze_runner_long": 2,
    "drain_runner": 2,
    "kill_projector": 1,
    "restart_comfyui": 1,
    "drop_sockets": 1,
    "mute_sockets": 1,
    "lose_post_response": 2,
    "lose_post_request": 2,
    "restart_server": 1,
    "cut_connections": 2,
    "lose_replies": 3,
    "flush_scripts": 1,
    "cancel": 4,
    "submit_again": 2,
    "lose_comfyui": 1,
    "neighbour_submits": 2,
    "neighbour_interrupts": 1,
    "neighbour_clears_history": 1,
}
"""Kind -> weight."""

JOB_KINDS = {"sleep": 12.0, "fail": 1.0, "invalid": 1.0, "deaf": 2.0}


class Fault(Struct, frozen=True):
    at_s: float
    kind: str
    which: int
    """A number that chooses the victim among those there are."""


class PlannedJob(Struct, frozen=True):
    at_s: float
    kind: str
    seconds: float


class Schedule(Struct, frozen=True):
    seed: int
    jobs: list[PlannedJob]
    faults: list[Fault]


def schedule(seed: int) -> Schedule:
    """Return the round of this seed: always the same one."""
    chance = random.Random(seed)
    kinds, weights = list(JOB_KINDS), list(JOB_KINDS.values())
    jobs = [
        PlannedJob(
            at_s=chance.uniform(0, ROUND_S * 0.6),
            kind=chance.choices(kinds, weights)[0],
            seconds=chance.choice((0.1, 0.3, 0.6, 1.2)),
        )
        for _ in range(JOBS)
    ]
    faults = [
        Fault(
            at_s=chance.uniform(0.3, ROUND_S),
            kind=chance.choices(list(FAULTS), list(FAULTS.values()))[0],
            which=chance.randrange(1000),
        )
        for _ in range(chance.randint(3, 8))
    ]
    return Schedule(
        seed,
        sorted(jobs, key=lambda job: job.at_s),
        sorted(faults, key=lambda fault: fault.at_s),
    )
