"""Each event is a CloudEvent that the CloudEvents SDK takes, and that says the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as SdkEvent
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from everfold.contract import documents
from everfold.contract.cloudevents import to_cloudevent
from everfold.streams.errors import UndecodableEvent
from everfold.streams.events.record import NO_ENTRY, Recorded, recorded
from tests.everfold.contract.schemas import DATA, GOLDEN, Json

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENTRY = "1795405758907-3"
STARTED = b'{"type":"job.started","id":"an-id","actor":"a","v":1,"attempt":1'


TEXT = {"type": "string", "minLength": 1}
RULES = Draft202012Validator(
    {
        "type": "object",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": TEXT,
            "source": {**TEXT, "pattern": "^[^ #]+$"},
            "type": TEXT,
            "subject": TEXT,
            "datacontenttype": {"const": "application/json"},
            "dataschema": {**TEXT, "pattern": "^[a-z]+:[^ #]+$"},
            "time": {"pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"},
            "data": True,
        },
        "propertyNames": {"pattern": "^[a-z0-9]+$"},
        "additionalProperties": {
            "type": ["string", "integer", "boolean"],
            "minimum": -(2**31),
            "maximum": 2**31 - 1,
        },
    }
)
"""The attributes of CloudEvents 1.0.2 in its JSON format. The SDK fills in what is missing."""


def entry(payload: bytes, *, seq: int = 7, epoch: int = 2, entry_id: str = ENTRY) -> Recorded:
    flat = [b"j", b"J-1", b"s", b"%d" % seq, b"e", b"%d" % epoch, b"p", NO_ENTRY.encode()]
    return recorded(entry_id.encode(), [*flat, b"d", payload])


def told(record: Recorded) -> Json:
    return json.loads(text(record))


def text(record: Recorded) -> bytes:
    return msgspec.json.encode(to_cloudevent(record, "shop"))


def read(written: bytes) -> BaseCloudEvent:
    return JSONFormat().read(SdkEvent, written)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_sdk_reads_every_golden_event_and_finds_the_same_in_it(name: str) -> None:
    payload = (DATA / "events" / f"{name}.json").read_bytes().strip()
    written = text(entry(payload))
    event, stored = read(written), GOLDEN[name]
    assert event.get_specversion() == "1.0"
    assert event.get_id() == stored["id"]
    assert event.get_source() == "/everfold/shop"
    assert event.get_type() == stored["type"]
    assert event.get_subject() == "J-1"
    assert event.get_time() == datetime(2026, 11, 23, 3, 49, 18, 907_000, tzinfo=UTC)
    assert event.get_datacontenttype() == "application/json"
    assert event.get_dataschema() == json.loads(documents.json_schema(stored["type"]))["$id"]
    assert event.get_data() == stored
    assert event.get_extension("sequence") == "0000000007"
    assert event.get_extension("epoch") == 2
    assert event.get_extension("entryid") == ENTRY
    assert payload in written


@pytest.mark.parametrize("name", GOLDEN)
def test_every_golden_event_keeps_the_rules_of_the_specification(name: str) -> None:
    payload = (DATA / "events" / f"{name}.json").read_bytes().strip()
    RULES.validate(told(entry(payload)))
    RULES.validate(told(entry(payload[:-1] + b',"trace":"%s"}' % TRACE.encode())))


BROKEN: dict[str, Json] = {
    "no id": {"id": None},
    "no version": {"specversion": None},
    "no source": {"source": ""},
    "no subject": {"subject": ""},
    "a time without a zone": {"time": "2026-11-23T03:49:18.907"},
    "a fragment": {"dataschema": "urn:everfold:events:1#x"},
    "a name that is not allowed": {"entry_id": "1-0"},
    "an object as an extension": {"epoch": {}},
    "an integer that is too large": {"epoch": 2**31},
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_rules_refuse_a_broken_one(name: str) -> None:
    event = told(entry(STARTED + b"}"))
    assert RULES.is_valid(event)
    assert not RULES.is_valid(event | BROKEN[name])


def test_a_trace_is_passed_on_where_there_is_one() -> None:
    assert told(entry(STARTED + b',"trace":"%s"}' % TRACE.encode()))["traceparent"] == TRACE
    assert "traceparent" not in told(entry(STARTED + b"}"))


def test_the_first_epoch_and_an_event_without_an_id_have_all_that_is_required() -> None:
    event = told(entry(b'{"type":"job.cancel_requested"}', seq=2, epoch=0))
    assert (event["epoch"], event["id"]) == (0, "J-1:2")


@given(st.lists(st.integers(1, 2**31 - 1), min_size=2, max_size=9))
def test_sequences_sort_as_text(numbers: list[int]) -> None:
    sequences = [to_cloudevent(entry(STARTED + b"}", seq=n), "x").sequence for n in numbers]
    assert [int(each) for each in sorted(sequences)] == sorted(numbers)


@given(st.integers(0, 253_402_300_799_999))
def test_the_time_is_that_of_the_entry_to_the_millisecond(time_ms: int) -> None:
    said = to_cloudevent(entry(STARTED + b"}", entry_id=f"{time_ms}-0"), "x").time
    assert len(said) == len("2026-11-23T03:49:18.900Z")
    moment = datetime.fromisoformat(said)
    assert moment - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(milliseconds=time_ms)


def test_json_over_many_lines_becomes_one_line_and_stays_the_same_event() -> None:
    written = text(entry(STARTED.replace(b",", b",\r\n  ") + b'\n, "note": "a\\nb"}'))
    assert b"\n" not in written
    assert b"\r" not in written
    assert json.loads(written)["data"]["note"] == "a\nb"


UNREADABLE = {
    "unknown type": entry(b'{"type":"job.teleported","id":"x","v":1}'),
    "newer version": entry(STARTED.replace(b'"v":1', b'"v":2') + b"}"),
    "broken JSON": entry(STARTED),
    "not of Everfold": recorded(b"5-0", [b"hello", b"world"]),
    "trimmed": recorded(b"5-0", None),
    "no time": entry(STARTED + b"}", entry_id="18446744073709551615-0"),
    "not UTF-8": entry(STARTED + b',"later":"\xff"}'),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_has_no_cloudevent(name: str) -> None:
    record = UNREADABLE[name]
    with pytest.raises(UndecodableEvent) as raised:
        to_cloudevent(record, "shop")
    assert raised.value.entry_id == record.entry_id
    assert raised.value.why
