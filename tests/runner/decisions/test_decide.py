"""The recovery decision over every combination, and the laws that no combination may break."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from msgspec.structs import replace

from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Ended, Pending, Running, Truth, Unreachable
from everfold.runner.decisions.actions import (
    Action,
    AskTruth,
    DecisionInputs,
    Done,
    Finish,
    HandOver,
    Postpone,
    RecordLost,
    Retry,
    StartAttempt,
    Stop,
    Wait,
    WatchAttempt,
)
from everfold.runner.decisions.decide import decide
from everfold.runner.decisions.seen_times import SeenTimes
from everfold.streams.events.event import Canceled, Expired, Failed
from tests.runner.decisions.decision_table import (
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
IN_DOUBT = ("intended", "accepted")


def render_table() -> str:
    """Return the whole table; write it anew with `python -m tests.runner.decisions.test_decide`."""
    lines = []
    for known, truth in product(KNOWN, TRUTHS):
        lines.append(f"{known} | {truth}")
        for case in CASES:
            job, now = job_and_now(known, case)
            lines.append(f"    {case:<18} {in_words(decide(job, TRUTHS[truth], now))}")
    return "\n".join(lines) + "\n"


def every() -> Iterator[tuple[str, Job, Truth | None, DecisionInputs, Action]]:
    """Yield each combination with its name and its decision."""
    for known, truth, case in product(KNOWN, TRUTHS, CASES):
        job, now = job_and_now(known, case)
        action = decide(job, TRUTHS[truth], now)
        yield f"{known} | {truth} | {case}", job, TRUTHS[truth], now, action


def ends_abandoned(action: Action) -> bool:
    match action:
        case Finish(event=Failed() | Canceled() | Expired() as event):
            return event.abandoned
        case RecordLost(lost=lost):
            return lost.abandoned
    return False


def test_every_combination_leads_to_the_action_that_the_table_states() -> None:
    assert render_table() == TABLE.read_text()


def test_no_new_attempt_begins_while_an_earlier_one_may_be_alive() -> None:
    for name, job, _, _, action in every():
        if job.attempt_state in IN_DOUBT:
            assert not isinstance(action, StartAttempt | Postpone), name


def test_what_is_given_up_while_it_may_live_is_named_as_abandoned() -> None:
    """The one exception to "an attempt ends when it is known to be over", and it says so."""
    for name, job, truth, _, action in every():
        may_live = isinstance(truth, Running | Pending | Unreachable)
        if may_live and isinstance(action, Finish | Retry | RecordLost):
            assert job.attempt_state not in IN_DOUBT or ends_abandoned(action), name


def test_what_is_known_to_be_over_is_never_named_as_abandoned() -> None:
    for name, _, truth, _, action in every():
        if isinstance(truth, Ended | Absent):
            assert not ends_abandoned(action), name


def test_nothing_is_decided_about_an_attempt_before_its_backend_was_asked() -> None:
    for name, job, truth, _, action in every():
        if truth is None and job.attempt_state in IN_DOUBT:
            assert action == AskTruth(), name


def test_a_terminal_job_is_left_alone() -> None:
    for name, job, truth, now, _ in every():
        assert decide(replace(job, status="succeeded"), truth, now) == Done(), name


def test_a_job_that_shall_be_canceled_never_begins_again() -> None:
    for name, job, truth, now, _ in every():
        wanted = replace(job, status="canceling", cancel_requested_at_ms=NOW_MS - 100)
        assert not isinstance(decide(wanted, truth, now), StartAttempt | Retry | Postpone), name


def test_a_success_is_always_taken() -> None:
    for name, job, truth, _, action in every():
        if job.attempt_state in IN_DOUBT and isinstance(truth, Ended) and truth.succeeded:
            assert in_words(action) == "succeeded", name


def test_a_living_prompt_is_followed_however_many_runners_died() -> None:
    job = replace(KNOWN["accepted"], crashes_in_a_row=99, broken=99, recovered=99)
    for truth in (Running(), Pending(3)):
        assert isinstance(decide(job, truth, NOW), WatchAttempt)


def test_what_lives_or_has_ended_there_counts_however_old_it_is() -> None:
    for name, job, truth, now, action in every():
        if job.attempt_state in IN_DOUBT and not isinstance(truth, Absent) and truth is not None:
            assert in_words(action) != "expired: stale", name
        if now.seen_alive or job.policy.recovery_max_age_s is None:
            assert in_words(action) != "expired: stale", name


def test_only_a_cancel_of_ours_ends_a_job_as_canceled() -> None:
    for name, job, _, _, action in every():
        if isinstance(action, Finish) and isinstance(action.event, Canceled):
            assert job.is_canceling, name


def longest_bound_s(job: Job) -> float:
    policy = job.policy
    deadlines = (policy.queue_deadline_s, policy.run_deadline_s)
    bounds = [limit for limit in deadlines if limit is not None]
    assert policy.backend_away_s is not None
    return max([*bounds, policy.backend_away_s]) + policy.stop_within_s


def test_whatever_is_known_a_silent_backend_does_not_keep_an_attempt_for_ever() -> None:
    """The law of liveness: no state, however it came about, waits beyond its longest bound."""
    for name, job, _, now, _ in every():
        if job.attempt_state not in IN_DOUBT:
            continue
        silent_s, stepping = 0.0, now
        while True:
            action = decide(job, Unreachable("silent"), stepping)
            if isinstance(action, Finish | RecordLost):
                break
            assert isinstance(action, Wait | HandOver | Stop), name
            silent_s += 1.0
            assert silent_s <= longest_bound_s(job) + 2, name
            stepping = replace(
                stepping,
                now_ms=stepping.now_ms + 1_000,
                away_s=max(stepping.away_s, silent_s),
                held_s=stepping.held_s + 1.0,
            )


def test_a_wedged_prompt_ends_within_its_bounds_once_somebody_wants_it_to() -> None:
    """It is said to run for ever: a cancel, a deadline and a stop end the job all the same."""
    for name, job, _, now, _ in every():
        wanted = job.is_canceling or job.stopping or job.started_at_ms
        if job.attempt_state not in IN_DOUBT or not wanted:
            continue
        for truth in (Running(), Pending(0)):
            state, later = replace(job, attempt_state="accepted"), now
            for _second in range(int(longest_bound_s(job)) + 600):
                action = decide(state, truth, later)
                if isinstance(action, Finish | RecordLost):
                    break
                if isinstance(action, Stop) and action.why not in ("cancel", state.stopping):
                    state = replace(state, stopping=action.why, stopping_at_ms=later.now_ms)
                later = replace(later, now_ms=later.now_ms + 1_000, held_s=later.held_s + 1.0)
            else:
                assert isinstance(truth, Pending) or state.stopping == "backend_unhealthy", name


def test_a_cancel_of_what_is_being_stopped_already_gains_it_no_time() -> None:
    since_ms = NOW_MS - int(PLAIN.policy.stop_within_s * 1000) - 1_000
    job = replace(
        KNOWN["accepted"],
        stopping="run_deadline",
        stopping_at_ms=since_ms,
        cancel_requested_at_ms=NOW_MS - 1_000,
        reason="enough",
    )
    for truth in (Running(), Unreachable("silent")):
        ended = Canceled(reason="enough", attempt=1, abandoned=True)
        assert decide(job, truth, NOW) == Finish(ended)


def test_a_step_of_the_clock_ends_nothing() -> None:
    hour_ms = 3_600_000
    for known, case in product(IN_DOUBT, ("plain", "stalled", "canceling", "being stopped")):
        for truth in (Running(), Pending(0), Unreachable("refused")):
            job, now = job_and_now(known, case)
            before = decide(job, truth, now)
            stepped = replace(now, now_ms=now.now_ms + hour_ms, stepped_at_ms=now.now_ms + hour_ms)
            assert decide(job, truth, stepped) == before, (known, case, truth)


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


def test_an_absence_counts_once_the_backend_has_answered_for_the_grace() -> None:
    """What stood still has read nothing: the submit may wait in its socket."""
    absent = Absent(same_boot=True)
    answering = replace(NOW, last_send_ms=NOW_MS - 4_000, first_absent_ms=NOW_MS - 1_900)
    assert isinstance(decide(KNOWN["intended"], absent, answering), Wait)
    for asked_at_ms in (NOW_MS + 99, NOW_MS + 101):
        later = replace(answering, now_ms=NOW_MS + 500, asked_at_ms=asked_at_ms)
        action = decide(KNOWN["intended"], absent, later)
        assert isinstance(action, Wait if asked_at_ms < NOW_MS + 100 else RecordLost)


def test_the_rest_of_a_lease_does_not_count_from_the_first_absence() -> None:
    taken_ms = NOW_MS - 10_000
    job = replace(
        KNOWN["intended"],
        submitting_at_ms=taken_ms - 1_000,
        claimed_at_ms=taken_ms,
        recovered_at_ms=taken_ms,
        idle_ms=2_000,
    )
    # The sender trusts its lease for 8 s after the take-over; then comes the grace of 2 s.
    for first_absent_ms, is_lost in ((taken_ms + 100, True), (NOW_MS - 1_900, False)):
        now = replace(NOW, now_ms=NOW_MS + 50, first_absent_ms=first_absent_ms)
        assert isinstance(decide(job, Absent(same_boot=True), now), RecordLost) is is_lost


def test_the_first_absence_of_an_attempt_is_forgotten_when_its_backend_is_silent() -> None:
    absent, silent = Absent(same_boot=True), Unreachable("silent")
    intended, seen = KNOWN["intended"], SeenTimes()
    looks: list[tuple[Truth | None, int]] = [
        (absent, 1_000),
        (None, 2_000),
        (absent, 3_000),
        (silent, 4_000),
        (absent, 5_000),
        (absent, 6_000),
    ]
    told = [seen.first_absent_ms(intended, truth, now_ms) for truth, now_ms in looks]
    assert told == [1_000, 1_000, 1_000, 0, 5_000, 5_000]
    assert seen.first_absent_ms(replace(intended, attempt=2), absent, 7_000) == 7_000


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
    for truth in (TRUTHS["interrupted"], TRUTHS["absent, same boot"]):
        for why in ("stalled", "run_deadline"):
            job = replace(KNOWN["accepted"], stopping=why, stopping_at_ms=NOW_MS)
            assert in_words(decide(job, truth, NOW)) == f"failed: {why}"


def test_a_queued_attempt_that_was_stopped_too_late_still_expires() -> None:
    job, now = job_and_now("accepted", "queued too long")
    action = decide(replace(job, stopping="expired"), TRUTHS["interrupted"], now)
    assert in_words(action) == "expired: queue_deadline"


def test_attempts_that_never_begin_wait_longer_each_time() -> None:
    waits = []
    for unconfirmed in range(1, 12):
        job = replace(KNOWN["over"], unconfirmed=unconfirmed, lost_at_ms=NOW_MS)
        action = decide(job, None, NOW)
        waits.append(action.after_s if isinstance(action, Postpone) else 0.0)
    assert waits == [0.0, 0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]


def test_attempts_that_never_begin_fail_the_job_after_many_and_after_long_only() -> None:
    over = replace(KNOWN["over"], lost_at_ms=NOW_MS - 100_000, unconfirmed=21)
    long_ago, lately = NOW_MS - 601_000, NOW_MS - 100_000
    assert in_words(decide(replace(over, unconfirmed_since_ms=long_ago), None, NOW)) == (
        "failed: submit_rejected"
    )
    for patient in (
        replace(over, unconfirmed_since_ms=lately),
        replace(over, unconfirmed_since_ms=long_ago, unconfirmed=20),
        replace(
            over,
            unconfirmed_since_ms=long_ago,
            policy=replace(over.policy, backend_away_s=None),
        ),
    ):
        assert isinstance(decide(patient, None, NOW), StartAttempt)


def test_a_pause_is_over_when_the_job_comes_back_from_it_although_the_clock_was_set_back() -> None:
    """The clock shows the time of the loss for hours; each claim must not begin the pause anew."""
    unsure = replace(NOW, stepped_at_ms=NOW_MS + 3_600_000, held_s=0.0)
    job = replace(KNOWN["over"], unconfirmed=5, lost_at_ms=NOW_MS, unconfirmed_since_ms=NOW_MS)
    assert isinstance(decide(replace(job, claimed_at_ms=NOW_MS), None, unsure), StartAttempt)
    assert isinstance(decide(replace(job, claimed_at_ms=NOW_MS - 1), None, unsure), Postpone)


def test_a_job_that_never_begins_fails_by_its_attempts_while_nobody_knows_how_long_ago() -> None:
    unsure = replace(NOW, stepped_at_ms=NOW_MS + 3_600_000, held_s=0.0)
    times = {"lost_at_ms": NOW_MS, "unconfirmed_since_ms": NOW_MS, "claimed_at_ms": NOW_MS}
    after = {
        n: decide(replace(KNOWN["over"], unconfirmed=n, **times), None, unsure) for n in (30, 31)
    }
    assert isinstance(after[30], StartAttempt)
    assert in_words(after[31]) == "failed: submit_rejected"


if __name__ == "__main__":
    TABLE.write_text(render_table())
