"""Stream entries to values; whatever else lies in the stream is a value, too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Started
from everfold.streams.events.record import NO_ENTRY, entry_order, entry_time_ms, recorded

PAYLOAD = b'{"type":"job.started","v":1,"id":"i","actor":"a","attempt":2}'
ENTRY = [b"j", b"order-1", b"s", b"3", b"e", b"1", b"p", b"1699999999999-4", b"d", PAYLOAD]


def test_an_entry_becomes_the_event_with_its_place() -> None:
    record = recorded(b"1700000000000-5", ENTRY)
    assert (record.entry_id, record.time_ms) == ("1700000000000-5", 1700000000000)
    assert (record.job_id, record.seq, record.epoch) == ("order-1", 3, 1)
    assert (record.previous, record.payload) == ("1699999999999-4", PAYLOAD)
    assert record.event == Started(id="i", actor="a", attempt=2)


def test_fields_that_are_not_known_yet_do_no_harm() -> None:
    assert recorded(b"1-0", [*ENTRY, b"x", b"new"]).event == Started(id="i", actor="a", attempt=2)


def test_an_event_that_cannot_be_read_keeps_its_place_in_the_job() -> None:
    record = recorded(b"7-0", [*ENTRY[:-1], b'{"type":"job.dreamt","v":1}'])
    assert isinstance(record.event, Unreadable)
    assert (record.event.kind, record.job_id, record.seq) == ("job.dreamt", "order-1", 3)


def test_a_trimmed_entry_says_so() -> None:
    record = recorded(b"7-0", None)
    assert isinstance(record.event, Unreadable)
    assert record.event.why == "the entry was trimmed"
    assert (record.entry_id, record.job_id, record.seq, record.previous) == ("7-0", "", 0, NO_ENTRY)


@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), min_size=1, max_size=6))
def test_foreign_entries_become_values_and_never_errors(pairs: list[tuple[bytes, bytes]]) -> None:
    flat = [part for pair in pairs for part in pair]
    record = recorded(b"7-0", flat)
    assert isinstance(record.event, Unreadable)
    assert record.event.why == "the entry was not written by Everfold"
    assert record.payload == b" ".join(flat)


@given(st.sampled_from(range(1, 8, 2)), st.binary(max_size=6))
def test_an_entry_with_one_broken_field_never_stops_a_reader(place: int, value: bytes) -> None:
    flat = [*ENTRY]
    flat[place] = value
    assert recorded(b"7-0", flat).entry_id == "7-0"


@given(*[st.tuples(st.integers(0, 10**13), st.integers(0, 99))] * 2)
def test_entry_ids_are_ordered_by_their_numbers(one: tuple[int, int], two: tuple[int, int]) -> None:
    first, second = (f"{milliseconds}-{counter}" for milliseconds, counter in (one, two))
    assert (entry_order(first) < entry_order(second)) == (one < two)
    assert entry_time_ms(first) == one[0]
