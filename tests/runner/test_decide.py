"""The recovery decision over every combination, and the laws that no combination may break."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from msgspec.structs import replace

from everfold.runner.backend import Absent, Pending, Running, Unreachable
from everfold.runner.decisions.decide import (
    AskTruth,
    Done,
    Finish,
    RecordLost,
    Retry,
    StartAttempt,
    Wait,
    decide,
)
from everfold.streams.events.event import Expired, Failed
from tests.runner.decision_table import (
    CASES,
    KNOWN,
    NOW,
    NOW_MS,
    PLAIN,
    TRUTHS,
    in_words,
    job_and_now,
)

TABLE = Path(__file__).with_name("decisions.txt")
EVERY = [*product(KNOWN, TRUTHS, CASES)]


def render_table() -> str:
    """Return the whole table; write it anew with `python -m tests.runner.test_decide`."""
    lines = []
    for known, truth in product(KNOWN, TRUTHS):
        lines.append(f"{known} | {truth}")
        for case in CASES:
            job, now = job_and_now(known, case)
            lines.append(f"    {case:<16} {in_words(decide(job, TRUTHS[truth], now))}")
    return "\n".join(lines) + "\n"


def test_every_combination_leads_to_the_action_that_the_table_states() -> None:
    assert render_table() == TABLE.read_text()


def test_no_new_attempt_begins_while_an_earlier_one_may_be_alive() -> None:
    for known, truth, case in EVERY:
        job, now = job_and_now(known, case)
        if job.attempt_state in ("intended", "accepted"):
            action = decide(job, TRUTHS[truth], now)
            assert not isinstance(action, StartAttempt), (known, truth, case)


def test_an_unreachable_backend_is_unknown_and_never_lost() -> None:
    for known, case in product(("intended", "accepted"), CASES):
        job, now = job_and_now(known, case)
        assert isinstance(decide(job, Unreachable("time-out"), now), Wait), (known, case)


def test_a_job_ends_only_when_its_attempt_is_known_to_be_over() -> None:
    for known, truth, case in EVERY:
        job, now = job_and_now(known, case)
        action = decide(job, TRUTHS[truth], now)
        alive = isinstance(TRUTHS[truth], Running | Pending | Unreachable | None)
        if alive and job.attempt_state in ("intended", "accepted"):
            assert not isinstance(action, Finish | Retry | RecordLost), (known, truth, case)


def test_a_terminal_job_is_left_alone() -> None:
    for known, truth, case in EVERY:
        job, now = job_and_now(known, case)
        action = decide(replace(job, status="succeeded"), TRUTHS[truth], now)
        assert action == Done(), (known, truth, case)


def test_a_job_that_shall_be_canceled_never_begins_again() -> None:
    for known, truth in product(KNOWN, TRUTHS):
        job, now = job_and_now(known, "canceling")
        action = decide(job, TRUTHS[truth], now)
        assert not isinstance(action, StartAttempt | Retry), (known, truth)


def test_what_was_accepted_is_asked_for_before_anything_else() -> None:
    job, now = job_and_now("accepted", "third crash")
    assert decide(job, None, now) == AskTruth()


def test_results_are_collected_even_from_a_stale_job() -> None:
    job, now = job_and_now("accepted", "stale")
    assert in_words(decide(job, TRUTHS["succeeded"], now)) == "succeeded"


def test_an_unconfirmed_submit_of_a_runner_that_may_live_is_waited_for_until_its_lease_ends() -> (
    None
):
    job = replace(
        KNOWN["intended"], claimed_at_ms=NOW_MS - 3_000, recovered_at_ms=NOW_MS - 3_000, idle_ms=500
    )
    # Its sender trusts the lease for up to 9.5 s after the take-over; then comes the grace of 2 s.
    assert isinstance(decide(job, Absent(same_boot=True), NOW), Wait)
    later = replace(NOW, now_ms=NOW_MS + 8_600)
    assert isinstance(decide(job, Absent(same_boot=True), later), RecordLost)


def test_an_unconfirmed_submit_whose_lease_had_run_out_is_waited_for_two_seconds() -> None:
    job = replace(
        KNOWN["intended"],
        claimed_at_ms=NOW_MS - 1_000,
        recovered_at_ms=NOW_MS - 1_000,
        idle_ms=10_500,
    )
    assert isinstance(decide(job, Absent(same_boot=True), NOW), Wait)
    later = replace(NOW, now_ms=NOW_MS + 1_100)
    assert isinstance(decide(job, Absent(same_boot=True), later), RecordLost)


def test_retries_wait_longer_each_time_up_to_five_minutes() -> None:
    policy = replace(PLAIN.policy, retries=20)
    waits = []
    for retried in (0, 1, 2, 10):
        job = replace(KNOWN["accepted"], policy=policy, retried=retried)
        action = decide(job, TRUTHS["out of memory"], NOW)
        assert isinstance(action, Retry)
        waits.append(action.after_s)
    assert waits == [5.0, 10.0, 20.0, 300.0]


def test_stopped_attempts_end_with_the_reason_they_were_stopped_for() -> None:
    interrupted = TRUTHS["interrupted"]
    stalled = decide(replace(KNOWN["accepted"], stopping="stalled"), interrupted, NOW)
    late = decide(replace(KNOWN["accepted"], stopping="run_deadline"), interrupted, NOW)
    assert in_words(stalled) == "failed: stalled"
    assert in_words(late) == "failed: run_deadline"


def test_a_queued_attempt_that_was_stopped_too_late_still_expires() -> None:
    job, now = job_and_now("accepted", "queued too long")
    action = decide(replace(job, stopping="expired"), TRUTHS["interrupted"], now)
    assert isinstance(action, Finish)
    assert isinstance(action.event, Expired)


def test_twenty_submits_in_a_row_that_never_arrive_fail_the_job() -> None:
    job = replace(KNOWN["over"], unconfirmed=21)
    action = decide(job, None, NOW)
    assert isinstance(action, Finish)
    assert isinstance(action.event, Failed)
    assert action.event.failure.code == "submit_rejected"
    assert isinstance(decide(replace(job, unconfirmed=20), None, NOW), StartAttempt)


if __name__ == "__main__":
    TABLE.write_text(render_table())
