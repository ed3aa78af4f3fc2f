"""A few rounds for every change; `make chaos ROUNDS=n SEED=s` runs many."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.projector.job.job import Job
from tests.chaos.fault_runner import Death, fault_runner
from tests.chaos.round import Round
from tests.chaos.schedule import FAULTS, schedule
from tests.chaos.violations import ledger_violations
from tests.support.programs.forked import ForkServer

pytestmark = pytest.mark.anyio

FIRST_SEED = 1


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.server
@pytest.mark.timeout(1800)
async def test_rounds_of_faults_end_without_a_violation(
    tmp_path: Path, full_length: bool, fork_server: ForkServer
) -> None:
    async with fault_runner(tmp_path, "chaos", fork_server) as faults:
        for seed in range(FIRST_SEED, FIRST_SEED + (30 if full_length else 3)):
            result = await Round(faults, schedule(seed)).run()
            assert result.violations == [], "\n".join([f"seed {seed}", *result.event_texts])
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


def test_a_second_post_an_overlap_and_a_false_success_are_violations() -> None:
    first, second = row("p1", 1, 2, "interrupted"), row("p2", 3, 4, "success")
    assert ledger_violations([DONE], [first, second], []) == []
    assert "POSTed 2 times" in ledger_violations([DONE], [second, second], [])[0]
    assert "began while" in ledger_violations([DONE], [row("p1", 1, 3.5, "x"), second], [])[0]
    assert "says p2 succeeded" in ledger_violations([DONE], [first], [])[0]


def test_what_was_given_up_may_run_beside_the_next_attempt() -> None:
    left, second = row("p1", 1, 3.5, "success"), row("p2", 3, 4, "success")
    assert ledger_violations([DONE], [left, second], [], {"p1"}) == []


def test_what_ran_on_a_dead_server_ended_with_it() -> None:
    dead, second = row("p1", 1, None, None), row("p2", 3, 4, "success")
    assert ledger_violations([DONE], [dead, second], [Death("u", 2.0)]) == []
    assert ledger_violations([DONE], [dead, second], [])


def test_this_is_what_make_chaos_runs() -> None:
    assert "python -m tests.chaos --rounds" in Path("Makefile").read_text()
