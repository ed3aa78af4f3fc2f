"""The laws of the fold, and what each event does."""

from __future__ import annotations

from functools import reduce
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from everfold.projector.job.evolve import evolve
from everfold.projector.job.fold import fold
from everfold.projector.job.job import STATUSES, TERMINAL_STATUSES, Job
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Claimed,
    Event,
    Expired,
    Failed,
    Lost,
    OutputSaved,
    Progressed,
    Queued,
    Recovered,
    Released,
    Retried,
    Started,
    Stopping,
    Submitting,
    Succeeded,
    closing_status,
)
from tests.projector.oracle import shown, state_of
from tests.support.histories import FAILURE, SUBMITTED, histories, records_of


@given(histories())
def test_the_fold_says_what_an_oracle_says_that_shares_no_line_with_it(events: list[Event]) -> None:
    records = records_of(events)
    job = fold(records)
    told = state_of(records)
    assert {name: value for name, value in shown(job).items() if name in told} == told


@given(histories())
def test_folding_at_once_is_evolving_one_by_one(events: list[Event]) -> None:
    records = records_of(events)
    assert fold(records) == reduce(evolve, records, Job())


@given(histories(), st.integers(0, 14))
def test_folding_in_two_parts_is_folding_at_once(events: list[Event], cut: int) -> None:
    records = records_of(events)
    assert fold(records) == fold(records[cut:], fold(records[:cut]))


@given(histories(), st.data())
def test_redelivered_events_change_nothing(events: list[Event], data: st.DataObject) -> None:
    records = records_of(events)
    again = data.draw(st.lists(st.sampled_from(records), max_size=5))
    assert fold(again, fold(records)) == fold(records)


@given(histories())
def test_progress_never_falls_and_is_one_only_for_success(events: list[Event]) -> None:
    states = list(accumulate(records_of(events), evolve, initial=Job()))
    assert all(earlier.progress <= later.progress for earlier, later in pairwise(states))
    assert all((job.progress == 1.0) == (job.status == "succeeded") for job in states)


@given(histories())
def test_a_job_is_terminal_exactly_after_its_terminal_event(events: list[Event]) -> None:
    job = fold(records_of(events))
    assert job.status in STATUSES
    assert job.is_terminal == (job.status in TERMINAL_STATUSES) == bool(closing_status(events[-1]))
    assert job.seq == len(events)


@given(histories(), st.lists(histories(), max_size=1))
def test_a_terminal_state_absorbs_whatever_follows(
    events: list[Event], more: list[list[Event]]
) -> None:
    records = records_of([*events, Canceled(), *(event for history in more for event in history)])
    end = fold(records[: len(events) + 1])
    after = fold(records)
    same = ("seq", "entry_id", "updated_at_ms", "epoch")
    assert replace(after, **{name: getattr(end, name) for name in same}) == end


def test_an_unreadable_event_stops_the_fold_before_it() -> None:
    records = records_of([SUBMITTED, Claimed(owner="r1"), Started(attempt=1)])
    broken = replace(records[1], event=Unreadable("job.new", "unknown type", b"{}"))
    assert fold([records[0], broken, records[2]]).seq == 1


SUBMITTING = Submitting(attempt=1, backend="b", boot="m", prompt_id="p", client_id="c")
QUEUED = Queued(attempt=1, prompt_id="p", number=4)
RECOVERED = Recovered(owner="r2", previous_owner="r1", crashes=2, idle_ms=9, reason="lease_expired")


def left(left_s: int | UnsetType) -> Progressed:
    return Progressed(attempt=1, value=0.5, nodes_done=1, nodes_total=2, left_s=left_s)


STORIES: dict[str, tuple[list[Event], dict[str, object]]] = {
    "submitted": ([], {"status": "queued", "user": "ada", "kind": "portrait"}),
    "claimed": ([Claimed(owner="r1")], {"owner": "r1", "epoch": 1, "status": "queued"}),
    "submitting": ([SUBMITTING], {"attempt": 1, "attempt_state": "intended", "prompt_id": "p"}),
    "queued": (
        [SUBMITTING, Queued(attempt=1, prompt_id="p", number=4)],
        {"attempt_state": "accepted", "number": 4, "status": "queued"},
    ),
    "started": ([SUBMITTING, Started(attempt=1)], {"status": "running"}),
    "progressed": (
        [
            SUBMITTING,
            Progressed(
                attempt=1, value=0.4, nodes_done=1, nodes_total=3, node="2", step=2, steps=5
            ),
        ],
        {"progress": 0.4, "node": "2", "step": 2, "steps": 5},
    ),
    "the time left is that of the run": (
        [SUBMITTING, left(40)],
        {"left_s": 40},
    ),
    "the time left of a run that ended badly": (
        [SUBMITTING, left(40), Lost(attempt=1, backend="b", cause="backend_restarted")],
        {"left_s": 0},
    ),
    "the time left once it is not known": (
        [SUBMITTING, left(40), left(UNSET)],
        {"left_s": 0},
    ),
    "a time left that makes no sense": ([SUBMITTING, left(-(2**80))], {"left_s": 0}),
    "a time left beyond all bounds": ([SUBMITTING, left(2**80)], {"left_s": 366 * 86_400}),
    "progress is capped": (
        [SUBMITTING, Progressed(attempt=1, value=1.0, nodes_done=3, nodes_total=3)],
        {"progress": 0.99},
    ),
    "output saved": (
        [SUBMITTING, OutputSaved(attempt=1, node="3", output={"a": [1]})],
        {"outputs": {"3": {"a": [1]}}},
    ),
    "cancel requested": ([CancelRequested(reason="no")], {"status": "canceling", "reason": "no"}),
    "a claim keeps the wish": (
        [CancelRequested(reason="no"), Claimed(owner="r1"), Started(attempt=1)],
        {"status": "canceling", "reason": "no"},
    ),
    "recovered": (
        [Recovered(owner="r2", previous_owner="r1", crashes=2, idle_ms=9, reason="lease_expired")],
        {"owner": "r2", "recovered": 2, "idle_ms": 9, "reason": "lease_expired"},
    ),
    "released": ([Released(reason="drain")], {"owner": "", "released": 1}),
    "lost": (
        [SUBMITTING, Started(attempt=1), Lost(attempt=1, backend="b", cause="backend_restarted")],
        {"attempt_state": "over", "losses": 1, "unconfirmed": 0, "status": "queued"},
    ),
    "lost while it waited": (
        [SUBMITTING, QUEUED, Lost(attempt=1, backend="b", cause="backend_restarted")],
        {"attempt_state": "over", "losses": 0, "unconfirmed": 1, "abandoned": 0},
    ),
    "given up": (
        [SUBMITTING, Lost(attempt=1, backend="b", cause="backend_gone", abandoned=True)],
        {"attempt_state": "over", "abandoned": 1},
    ),
    "refused": (
        [SUBMITTING, Lost(attempt=1, backend="b", cause="refused", failure=FAILURE)],
        {"refused_by": ("b",), "error": FAILURE},
    ),
    "crashes without progress": (
        [RECOVERED, Released(reason="broken"), RECOVERED],
        {"crashes_in_a_row": 3, "broken": 1},
    ),
    "crashes that progress forgives": (
        [RECOVERED, RECOVERED, SUBMITTING, QUEUED, RECOVERED],
        {"crashes_in_a_row": 1, "recovered": 2},
    ),
    "an attempt whose intent was forgotten": (
        [Started(attempt=1), Progressed(attempt=1, value=0.5, nodes_done=1, nodes_total=2)],
        {"attempt_state": "", "status": "queued", "progress": 0.0, "started_at_ms": 0},
    ),
    "stopped twice": (
        [SUBMITTING, Stopping(attempt=1, why="stalled"), Stopping(attempt=1, why="stalled")],
        {"stopping": "stalled", "stopping_at_ms": records_of([SUBMITTED] * 3)[2].time_ms},
    ),
    "never arrived": (
        [SUBMITTING, Lost(attempt=1, backend="b", cause="never_arrived")],
        {"attempt_state": "over", "losses": 0, "unconfirmed": 1},
    ),
    "retried": (
        [SUBMITTING, Retried(attempt=1, failure=FAILURE, not_before_ms=5)],
        {"attempt_state": "over", "retried": 1, "run_at_ms": 5, "error": FAILURE},
    ),
    "succeeded": (
        [SUBMITTING, Succeeded(attempt=1, outputs={"3": {}}, outputs_reused=True)],
        {"status": "succeeded", "progress": 1.0, "outputs": {"3": {}}, "outputs_reused": True},
    ),
    "failed": ([Failed(failure=FAILURE)], {"status": "failed", "error": FAILURE, "owner": ""}),
    "canceled": ([Canceled(reason="no")], {"status": "canceled", "reason": "no"}),
    "expired": ([Expired(reason="stale")], {"status": "expired", "reason": "stale"}),
}


@pytest.mark.parametrize("name", STORIES)
def test_each_event_does_what_it_says(name: str) -> None:
    events, expected = STORIES[name]
    job = fold(records_of([SUBMITTED, *events]))
    assert {field: getattr(job, field) for field in expected} == expected


def test_the_time_left_goes_down_with_the_time_and_never_to_nothing() -> None:
    job = Job(left_s=40, updated_at_ms=100_000)
    assert [job.left_at_s(at_ms) for at_ms in (0, 100_000, 125_400, 139_900, 900_000)] == [
        *(40, 40, 15, 1, 1)
    ]
    assert Job(updated_at_ms=100_000).left_at_s(0) == 0
