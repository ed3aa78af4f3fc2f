"""What the simulation has found in the decision and the fold, each as one small case."""

from __future__ import annotations

import pytest

from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.runner.backend import Absent
from everfold.runner.decisions.actions import DecisionInputs, RecordLost, StartAttempt, Wait
from everfold.runner.decisions.decide import decide
from everfold.streams.events.event import (
    CancelRequested,
    Claimed,
    Event,
    Failure,
    Lost,
    OutputSaved,
    Progressed,
    Queued,
    Released,
    Retried,
    Started,
    Submitting,
)
from everfold.streams.events.record import Recorded

SENT = Job(job_id="job", attempt=1, attempt_state="intended", submitting_at_ms=1_000_000)


def circumstances(**given: object) -> DecisionInputs:
    values = {"now_ms": 1_005_000, "lease_ttl_s": 10.0, "submit_grace_s": 2.0, **given}
    return DecisionInputs(**values)  # type: ignore[arg-type]


def told(*events: Event) -> Job:
    return fold(
        Recorded(
            entry_id=f"{1_000_000 + seq}-0",
            job_id="job",
            seq=seq,
            epoch=1,
            previous="0-0",
            event=event,
            payload=b"",
        )
        for seq, event in enumerate(events, 1)
    )


def intent(attempt: int, backend: str = "http://one") -> Submitting:
    return Submitting(
        attempt=attempt, backend=backend, boot="boot", prompt_id=f"p{attempt}", client_id="c"
    )


def test_an_answer_from_before_the_end_of_the_grace_proves_nothing_however_late_it_comes() -> None:
    now = circumstances(asked_at_ms=1_001_000)

    assert isinstance(decide(SENT, Absent(same_boot=True), now), Wait)


def test_an_answer_to_a_question_after_the_grace_counts() -> None:
    now = circumstances(asked_at_ms=1_002_001)

    assert isinstance(decide(SENT, Absent(same_boot=True), now), RecordLost)


def test_no_attempt_is_wasted_while_the_lease_is_not_trusted() -> None:
    assert isinstance(decide(Job(job_id="job"), None, circumstances(lease_trusted=False)), Wait)
    assert isinstance(decide(Job(job_id="job"), None, circumstances()), StartAttempt)


@pytest.mark.parametrize(
    "late",
    [
        intent(1),
        Queued(attempt=1, prompt_id="p1"),
        Started(attempt=1),
        Progressed(attempt=1, value=0.9, nodes_done=1, nodes_total=1),
        OutputSaved(attempt=1, node="9", output={}),
        Lost(attempt=1, backend="http://one", cause="never_arrived"),
    ],
)
def test_news_of_an_earlier_attempt_do_not_pass_for_news_of_the_present_one(late: Event) -> None:
    lost = Lost(attempt=1, backend="http://one", cause="backend_restarted")
    story = (intent(1), Started(attempt=1), lost, intent(2))
    before, after = told(*story), told(*story, late)

    assert after.seq == before.seq + 1
    assert (after.attempt, after.attempt_state, after.backend) == (2, "intended", "http://one")
    assert (after.progress, after.outputs, after.losses) == (0.0, {}, 1)


@pytest.mark.parametrize(
    "later",
    [
        Released(reason="drain"),
        Lost(attempt=1, backend="http://one", cause="backend_restarted"),
        Retried(
            attempt=1, failure=Failure(code="out_of_memory", message=""), not_before_ms=1_000_000
        ),
        Claimed(owner="two"),
    ],
)
def test_why_a_job_is_canceling_is_not_covered_up_by_what_happens_to_it(later: Event) -> None:
    asked = CancelRequested(reason="no longer wanted")

    assert told(intent(1), asked, later).reason == "no longer wanted"
    assert told(intent(1), later, asked).reason == "no longer wanted"
