# Any entry of the log has a known outcome: an event that is written as it was read, or an
# Unreadable with its bytes. The jobs that are folded of them are stored and read back the same,
# and each reader of one event shows it. Nothing raises but the errors that are named here.

from __future__ import annotations

import contextlib
import json

import msgspec
from hypothesis import example
from hypothesis import strategies as st

from everfold.archives.entry_check import EntryCheck
from everfold.contract.cloudevents import to_cloudevent
from everfold.event_text import event_lines
from everfold.projector.job.fold import fold
from everfold.projector.job.invariants import check, trace_before
from everfold.projector.job.job import STATUSES, Job
from everfold.projector.job.state import MOST, from_fields, to_fields
from everfold.projector.subscribing.delivery import Delivery
from everfold.sinks.messages import message
from everfold.sinks.rows import event_row, job_row
from everfold.streams.archive.segment import read_line, write_line
from everfold.streams.errors import EventTooLarge, UndecodableEvent
from everfold.streams.events.codec import Unreadable, decode, encode
from everfold.streams.events.limits import LAST_DATE_MS
from everfold.streams.events.record import FIELDS, Recorded, recorded
from tests.everfold.contract.schemas import GOLDEN
from tests.fuzz.cases import fuzz
from tests.fuzz.mutations import VALUES, changed, dump, spoiled

EVENTS = changed([{**event, "trace": "00-aa-bb-01"} for event in GOLDEN.values()], VALUES)
PAYLOADS = spoiled(EVENTS.map(dump)) | EVENTS.map(dump) | st.binary(max_size=40)

NUMBERS = st.sampled_from((b"", b"-1", b"x", b"1_0", b"9" * 20, b"9" * 400, b"9" * 5000, b" 1"))
IDS = st.sampled_from((b"5-0", b"5-0", b"1795405758907-3", b"0-0", b"9" * 15 + b"-0"))
JOBS = st.sampled_from((b"J-1", b"J-1", b"", b"\xff", b"a\nb", b"{x}"))
"""The server gives entry ids, so that they are always some."""


@st.composite
def records(draw: st.DrawFn) -> list[Recorded]:
    """Return a history in which most events follow one another."""
    found = list[Recorded]()
    for number, payload in enumerate(draw(st.lists(PAYLOADS, min_size=1, max_size=6)), 1):
        seq = draw(st.just(b"%d" % number) | st.just(b"%d" % number) | NUMBERS)
        values = (draw(JOBS), seq, draw(st.just(b"1") | NUMBERS), draw(IDS), payload)
        flat = [part for pair in zip(FIELDS, values, strict=True) for part in pair]
        odd = draw(st.sampled_from((False,) * 9 + (True,)))
        flat = draw(st.permutations(flat)) if odd else flat
        entry_id = draw(st.just(b"%d-0" % (1795405758907 + number)) | IDS)
        assert read_line(write_line((entry_id, flat))) == (entry_id, flat)
        found.append(recorded(entry_id, flat))
    return found


@fuzz(payload=PAYLOADS)
def test_an_event_is_written_as_it_was_read(payload: bytes) -> None:
    event = decode(payload)
    if isinstance(event, Unreadable):
        assert event.payload == payload
        assert event.why
        event.why.encode()
        return
    with contextlib.suppress(EventTooLarge):
        again = decode(encode(event))
        assert again == event or shortened(again, event), again


def shortened(again: object, event: object) -> bool:
    """Say whether the two are of one type and the first one is smaller."""
    texts = [msgspec.json.encode(each) for each in (again, event)]
    return type(again) is type(event) and len(texts[0]) < len(texts[1])


def claimed(entry_id: bytes = b"5-0", later: bytes = b"1") -> list[Recorded]:
    """Return the claim of a job, with one field of a later version."""
    payload = dump(GOLDEN["job.claimed.v1"])[:-1] + b',"later":' + later + b"}"
    return [recorded(entry_id, [b"j", b"J", b"s", b"1", b"e", b"0", b"p", b"0-0", b"d", payload])]


# A moment that no date can show, and fields that the codec skips without a look.
@fuzz(history=records())
@example(history=claimed(entry_id=b"999999999999999-0"))
@example(history=claimed(later=b'"\xff"'))
@example(history=claimed(later=b"[" * 99 + b"]" * 99))
def test_each_reader_takes_any_history(history: list[Recorded]) -> None:
    job = fold(history)
    first, others = fold(history[:2]), history[2:]
    if 0 < first.seq == history[:2][-1].seq:
        assert job == fold(others, first)
    assert job.status in STATUSES
    read_back(job)
    trace = trace_before(history[0])
    for record in history:
        trace, wrong = check(trace, record)
        assert all(str(each) for each in wrong)
        assert_shown(record, job)
    assert len(event_lines(history)) == len(history)


def read_back(job: Job) -> None:
    stored = {name.encode(): text.encode() for name, text in to_fields(job).items()}
    numbers = [(name, int(value)) for name, value in stored.items() if value.isdigit()]
    is_sane = all(n <= (LAST_DATE_MS if name.endswith(b"_ms") else MOST) for name, n in numbers)
    # A state with an absurd number is folded from the log again.
    assert from_fields(stored) == (job if job.seq and is_sane else None)


def assert_shown(record: Recorded, job: Job) -> None:
    entry_check = EntryCheck(0, 1, {}, allow_broken=True)
    names = (record.job_id, record.seq, record.epoch, record.previous)
    values = [*(str(name).encode() for name in names), record.payload]
    flat = [part for pair in zip(FIELDS, values, strict=True) for part in pair]
    assert isinstance(entry_check.fault((record.entry_id.encode(), flat)), str)
    with contextlib.suppress(UndecodableEvent):
        json.loads(msgspec.json.encode(to_cloudevent(record, "shop")))
    assert job_row("shop", "g", job)
    if not isinstance(record.event, Unreadable):
        delivery = Delivery(record=record, job=job)
        assert event_row("shop", delivery)
        assert message(delivery)
