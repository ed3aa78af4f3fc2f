"""Each law has a history that breaks it, and no history of a real runner breaks one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from everfold.projector.job import invariants
from everfold.projector.job.invariants import Difference, Trace, check, trace_before
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import (
    CancelRequested,
    Claimed,
    Event,
    Failed,
    Failure,
    Lost,
    Progressed,
    Queued,
    Recovered,
    Released,
    Retried,
    Rewound,
    Started,
    Submitting,
    Succeeded,
)
from everfold.streams.events.record import Recorded
from tests.support.histories import SUBMITTED, histories, records_of


def begin(number: int) -> Submitting:
    return Submitting(attempt=number, backend="b", boot="m", prompt_id="p", client_id="c")


CLAIMED = Claimed(owner="r1")
TAKEN = Recovered(owner="r2", previous_owner="r1", crashes=1, idle_ms=9, reason="lease_expired")
LOST = Lost(attempt=1, backend="b", cause="never_arrived")
FAILURE = Failure(code="out_of_memory", message="too big")
DONE = Succeeded(attempt=2, outputs={})
MOVES = Progressed(attempt=1, value=0.5, nodes_done=1, nodes_total=2)

SOUND: list[Event] = [
    *(SUBMITTED, CLAIMED, begin(1), Queued(attempt=1, prompt_id="p"), Started(attempt=1), MOVES),
    *(TAKEN, LOST, begin(2), Queued(attempt=2, prompt_id="q"), Started(attempt=2), DONE),
]


def differences(records: list[Recorded], trace: Trace | None = None) -> list[Difference]:
    trace, found = trace or Trace(job_id="job"), list[Difference]()
    for record in records:
        trace, wrong = check(trace, record)
        found += wrong
    return found


def broken(events: list[Event]) -> list[int]:
    return [difference.invariant for difference in differences(records_of(events))]


def spoiled(index: int, **fields: object) -> list[int]:
    """Return what is wrong with the sound history after a change of one of its entries."""
    records = records_of(SOUND)
    records[index] = replace(records[index], **fields)
    return [difference.invariant for difference in differences(records)]


@given(histories())
def test_order_and_epochs_of_every_history_that_the_scripts_can_write_are_sound(
    events: list[Event],
) -> None:
    assert not set(broken(events)) & {1, 2, 3}


def test_a_history_with_a_crash_and_a_second_attempt_is_sound() -> None:
    assert broken(SOUND) == []


@pytest.mark.parametrize(
    ("index", "fields", "invariant"),
    [
        (5, {"seq": 7}, 1),
        (5, {"previous": "7-7"}, 1),
        (5, {"entry_id": "7-7"}, 1),
        (7, {"epoch": 1}, 3),  # told under an older epoch, after a newer claim
        (5, {"epoch": 2}, 3),  # an epoch that nobody claimed
        (6, {"epoch": 1}, 3),  # a claim without an epoch of its own
    ],
)
def test_a_spoiled_entry_breaks_order_or_epochs_and_nothing_else(
    index: int, fields: dict[str, object], invariant: int
) -> None:
    assert set(spoiled(index, **fields)) == {invariant}


@pytest.mark.parametrize(
    ("events", "invariants"),
    [
        ([*SOUND, Released(reason="drain")], [2]),
        ([*SOUND, Failed(failure=FAILURE)], [2]),
        ([CLAIMED, SUBMITTED], [1, 1]),
        ([SUBMITTED, CLAIMED, begin(1), begin(2)], [6]),
        ([SUBMITTED, CLAIMED, begin(1), LOST, begin(1)], [6]),
        ([SUBMITTED, CLAIMED, begin(1), LOST, begin(3)], [6]),
        ([SUBMITTED, CLAIMED, begin(2)], [6]),
        ([SUBMITTED, CLAIMED, begin(1), LOST, MOVES], [6]),
        ([SUBMITTED, CLAIMED, begin(1), LOST, begin(2), MOVES], [6]),
        ([SUBMITTED, CLAIMED, begin(1), DONE], [6]),
        ([SUBMITTED, CLAIMED, begin(1), LOST, LOST], [6]),
    ],
)
def test_each_broken_law_is_named_by_its_number(events: list[Event], invariants: list[int]) -> None:
    assert broken(events) == invariants


def test_an_attempt_that_failed_and_is_tried_again_is_over() -> None:
    again = Retried(attempt=1, failure=FAILURE, not_before_ms=5)
    assert broken([SUBMITTED, CLAIMED, begin(1), again, CLAIMED, begin(2)]) == []


def test_runners_of_other_kinds_record_no_intents() -> None:
    assert broken([SUBMITTED, CLAIMED, Started(attempt=1), MOVES, replace(DONE, attempt=1)]) == []


def test_an_event_that_nobody_can_read_may_have_begun_an_attempt() -> None:
    records = records_of(SOUND)
    records[8] = replace(records[8], event=Unreadable("job.new", "unknown type", b"{}"))
    assert differences(records) == []


@pytest.mark.parametrize("first", range(1, len(SOUND)))
def test_a_history_may_begin_anywhere_once_it_was_trimmed(first: int) -> None:
    rest = records_of(SOUND)[first:]
    assert differences(rest, trace_before(rest[0])) == []


def test_a_difference_is_a_sentence_with_place_and_both_sides() -> None:
    [difference] = differences(records_of([SUBMITTED, CLAIMED, begin(2)]))
    assert str(difference) == (
        "invariant 6: job job, partition 0, entry 1000003-0: "
        "expected attempt 1, found the intent of attempt 2"
    )


def test_nothing_enters_the_log_of_a_leased_job_without_its_epoch() -> None:
    records = records_of(SOUND)
    records[5] = replace(records[5], epoch=0)
    assert 9 in [difference.invariant for difference in differences(records)]


def of(actor: str, event: Event) -> Event:
    return replace(event, actor=actor)


LEASED = [
    SUBMITTED,
    of("r1", CLAIMED),
    of("r1", begin(1)),
    of("r1", Queued(attempt=1, prompt_id="p")),
]


@pytest.mark.parametrize(
    ("event", "invariants"),
    [
        (of("r1", MOVES), []),
        (of("somebody", MOVES), [9]),
        (of("somebody", Released(reason="drain")), [9]),
        (of("somebody", Failed(failure=FAILURE)), [9]),
        (of("somebody", CancelRequested(reason="")), []),
        (of("somebody", Rewound(seen_seq=9, found_seq=4)), []),
        (of("r2", TAKEN), []),
    ],
)
def test_only_a_request_to_cancel_and_a_rewind_come_from_others(
    event: Event, invariants: list[int]
) -> None:
    assert broken([*LEASED, event]) == invariants


def test_after_a_release_anybody_may_write() -> None:
    released = of("r1", Released(reason="drain"))
    assert broken([*LEASED, released, of("somebody", CancelRequested(reason=""))]) == []
    assert broken([*LEASED, released, of("client", Failed(failure=FAILURE))]) == []


SMALL = st.integers(-1, 2)
IDS = st.sampled_from(["0-0", "1-0", "2-0"])
RUNNERS = st.sampled_from(["", "r1", "r2"])
TRACES = st.builds(
    Trace,
    job_id=st.just("job"),
    seq=SMALL,
    epoch=SMALL,
    entry_id=IDS,
    status=st.sampled_from(["", "", "failed"]),
    attempt=SMALL,
    is_attempt_open=st.booleans(),
    is_leased=st.booleans(),
    runner=RUNNERS,
)


@given(TRACES, st.integers(0, 3), SMALL, IDS, SMALL, RUNNERS)
def test_progress_is_checked_as_any_event_is(
    trace: Trace, seq: int, epoch: int, previous: str, attempt: int, actor: str
) -> None:
    progress = replace(MOVES, attempt=attempt, actor=actor)
    record = Recorded("3-0", "job", seq, epoch, previous, progress, b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(invariants, "_is_next_progress", lambda _trace, _record: False)
        expected = check(trace, record)
    assert check(trace, record) == expected
