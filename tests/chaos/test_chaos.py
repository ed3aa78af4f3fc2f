"""A few rounds for every change; `make chaos ROUNDS=n SEED=s` plays many."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.projector.job.job import Job
from tests.chaos.judge import judge_ledgers
from tests.chaos.round import Round
from tests.chaos.schedule import FAULTS, schedule
from tests.chaos.theatre import Death, theatre

pytestmark = pytest.mark.anyio

ROUNDS = 3
FIRST_SEED = 1


@pytest.mark.long
@pytest.mark.server
@pytest.mark.timeout(300)
async def test_rounds_of_faults_end_without_a_violation(tmp_path: Path) -> None:
    async with theatre(tmp_path, "chaos") as stage:
        for seed in range(FIRST_SEED, FIRST_SEED + ROUNDS):
            result = await Round(stage, schedule(seed)).play()
            assert result.violations == [], "\n".join([f"seed {seed}", *result.stories])
            assert sum(result.outcomes.values()) >= 12


def test_a_seed_makes_the_same_round_each_time_and_another_seed_another() -> None:
    assert schedule(7) == schedule(7)
    assert schedule(7).faults != schedule(8).faults


def test_every_kind_of_fault_comes_up() -> None:
    kinds = {fault.kind for seed in range(200) for fault in schedule(seed).faults}
    assert kinds == set(FAULTS)


def row(
    prompt: str, start: float | None, end: float | None, outcome: str | None
) -> dict[str, object]:
    about = {"everfold": {"job_id": "a", "attempt": 1}}
    times = {"started_at": start, "ended_at": end, "outcome": outcome}
    return {"prompt_id": prompt, "extra_data": about, "url": "u", **times}


DONE = Job(job_id="a", status="succeeded", prompt_id="p2")


def test_the_judge_sees_a_second_post_an_overlap_and_a_false_success() -> None:
    first, second = row("p1", 1, 2, "interrupted"), row("p2", 3, 4, "success")
    assert judge_ledgers([DONE], [first, second], []) == []
    assert "POSTed 2 times" in judge_ledgers([DONE], [second, second], [])[0]
    assert "began while" in judge_ledgers([DONE], [row("p1", 1, 3.5, "x"), second], [])[0]
    assert "says p2 succeeded" in judge_ledgers([DONE], [first], [])[0]


def test_what_ran_on_a_dead_server_ended_with_it() -> None:
    dead, second = row("p1", 1, None, None), row("p2", 3, 4, "success")
    assert judge_ledgers([DONE], [dead, second], [Death("u", 2.0)]) == []
    assert judge_ledgers([DONE], [dead, second], [])


def test_this_is_what_make_chaos_plays() -> None:
    assert "python -m tests.chaos --rounds" in Path("Makefile").read_text()
