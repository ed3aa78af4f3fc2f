"""The state hash: readable by anybody, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.projector.job.state import SHOWN, from_fields, to_fields
from everfold.streams.events.event import Event, Started, Submitting
from tests.support.histories import SUBMITTED, histories, records_of


def stored(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


@given(histories())
def test_every_state_survives_the_hash(events: list[Event]) -> None:
    job = fold(records_of(events))
    assert from_fields(stored(to_fields(job))) == job


@given(histories(), st.integers(1, 13))
def test_writing_only_what_changed_gives_the_same_hash(events: list[Event], cut: int) -> None:
    records = records_of(events)
    before, after = fold(records[:cut]), fold(records)
    hash_ = {**to_fields(before), **to_fields(after, before)}
    assert from_fields(stored(hash_)) == after


def test_the_hash_is_plain_text_and_carries_the_earlier_names() -> None:
    begun = Submitting(attempt=1, backend="http://gpu", boot="m", prompt_id="p-1", client_id="c")
    fields = to_fields(fold(records_of([SUBMITTED, begun, Started(attempt=1)])))
    assert fields["status"] == "running"
    assert fields["attempt"] == "1"
    assert fields["metadata"] == '{"shop":7}'
    assert (fields["promptId"], fields["jobType"], fields["userId"]) == ("p-1", "portrait", "ada")


def test_the_first_write_shows_what_is_not_empty_by_default() -> None:
    fields = to_fields(fold(records_of([SUBMITTED])))
    shown = {name: fields[name] for name in SHOWN}
    assert shown == {
        "status": "queued",
        "queue": "default",
        "priority": "normal",
        "progress": "0.0",
    }


def test_a_hash_that_cannot_be_read_is_no_job() -> None:
    assert from_fields({b"seq": b"3", b"job_id": b"j", b"policy": b"{broken"}) is None
    assert from_fields({b"seq": b"many"}) is None


def test_an_empty_hash_is_no_job_and_unknown_fields_are_ignored() -> None:
    assert from_fields({}) is None
    newer = {b"seq": b"3", b"job_id": b"j", b"field_of_the_future": b"x"}
    assert from_fields(newer) == Job(job_id="j", seq=3)


@pytest.mark.parametrize("field", ["seq", "updated_at_ms", "progress", "attempt"])
@pytest.mark.parametrize("text", [b"9" * 400, b"9" * 20, b"1e308", b"inf", b"nan", b"\xff", b"x"])
def test_a_state_with_an_absurd_number_cannot_be_read(field: str, text: bytes) -> None:
    assert from_fields({b"seq": b"1", field.encode(): text}) is None
