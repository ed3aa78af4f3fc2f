"""A job that is open beyond its longest bound is named; one that still has time is not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from everfold.projector.job.job import Job
from everfold.projector.job.overdue import overdue
from everfold.streams.events.event import Policy

POLICY = Policy(queue_deadline_s=100, run_deadline_s=200, stop_within_s=30, recovery_max_age_s=600)
JOB = Job(job_id="j", seq=3, submitted_at_ms=1_000, policy=POLICY)
STARTED = replace(JOB, attempt=1, attempt_state="accepted", status="running", started_at_ms=5_000)
CANCELING = replace(STARTED, status="canceling", cancel_requested_at_ms=8_000)
STALE = replace(
    STARTED,
    policy=replace(POLICY, run_deadline_s=None),
    attempt_state="over",
    idle_ms=600_001,
    recovered_at_ms=7_000,
    updated_at_ms=7_000,
)
LATEST_MS = {
    "queue": (JOB, 1_000 + 130_000),
    "queue, for a later time": (replace(JOB, run_at_ms=9_000), 9_000 + 130_000),
    "run": (STARTED, 5_000 + 230_000),
    "cancel": (CANCELING, 8_000 + 30_000),
    "recovery": (STALE, 7_000 + 30_000),
}


@pytest.mark.parametrize("name", LATEST_MS)
def test_a_bound_is_passed_after_its_length_and_the_margin_and_not_before(name: str) -> None:
    job, latest_ms = LATEST_MS[name]
    assert overdue(job, latest_ms + 10_000, margin_s=10) == []
    [found] = overdue(job, latest_ms + 10_001, margin_s=10)
    assert (found.invariant, found.job_id) == (8, "j")
    assert "open 10 s later" in str(found)


def test_a_lease_that_nobody_renews_expires_its_job() -> None:
    job = replace(STALE, idle_ms=0)
    assert overdue(job, 10**9, margin_s=10, idle_ms=640_000) == []
    assert len(overdue(job, 10**9, margin_s=10, idle_ms=640_001)) == 1


def test_an_attempt_that_may_live_has_no_age() -> None:
    living = replace(STALE, attempt_state="accepted")
    assert overdue(living, 10**9, idle_ms=10**9) == []
    ageless = replace(STALE, policy=Policy())
    assert overdue(ageless, 10**9, idle_ms=10**9) == []


@pytest.mark.parametrize("status", ["succeeded", "failed", "canceled", "expired"])
def test_a_job_that_has_ended_is_never_late(status: str) -> None:
    assert overdue(replace(CANCELING, status=status), 10**12, idle_ms=10**9) == []


def test_a_job_that_waits_for_another_attempt_has_no_bound_of_the_earlier_one() -> None:
    waits = replace(STARTED, attempt_state="over", losses=1, status="queued")
    assert overdue(waits, 10**12) == []


def test_no_deadline_is_none() -> None:
    assert overdue(replace(JOB, policy=Policy()), 10**12) == []


def test_a_step_of_the_clock_makes_no_job_late() -> None:
    hour_ms = 3_600_000
    assert overdue(CANCELING, hour_ms + 20_000, unsure_to_ms=hour_ms) == []
    assert len(overdue(CANCELING, hour_ms + 100_000, unsure_to_ms=hour_ms)) == 1
