"""Events to JSON and back: nothing is lost, nothing stops a reader, old logs stay readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec import Unreadable, decode, encode
from streams.events import Event, Submitted
from streams.upcast import current_version, upcast
from tests.support.histories import ENDINGS, MIDDLE

GOLDEN = Path(__file__).parent.parent / "data" / "events"
TYPES = {str(kind.__struct_config__.tag): kind for kind in get_args(Event)}


@given(st.one_of(MIDDLE, ENDINGS))
def test_what_was_encoded_is_decoded_to_the_same_event(event: Event) -> None:
    assert decode(encode(event)) == event


@given(st.binary(max_size=200))
def test_garbage_becomes_a_value_and_never_an_error(garbage: bytes) -> None:
    assert isinstance(decode(garbage), Unreadable)


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text()))
def test_any_object_of_an_unknown_type_becomes_a_value(fields: dict[str, object]) -> None:
    payload = json.dumps({**fields, "type": "job.from_the_future"}).encode()
    found = decode(payload)
    assert isinstance(found, Unreadable)
    assert (found.kind, found.payload) == ("job.from_the_future", payload)


def test_unknown_fields_are_ignored() -> None:
    payload = b'{"type":"job.started","v":1,"id":"i","actor":"a","attempt":2,"mood":"good"}'
    event = decode(payload)
    assert not isinstance(event, Unreadable)
    assert json.loads(encode(event)) == {
        "type": "job.started",
        "v": 1,
        "id": "i",
        "actor": "a",
        "attempt": 2,
    }


def test_a_newer_version_of_a_known_type_is_unreadable_and_says_why() -> None:
    found = decode(b'{"type":"job.started","v":2,"id":"i","actor":"a","attempt":1}')
    assert isinstance(found, Unreadable)
    assert "schema version 2; this Everfold knows up to 1" in found.why


@pytest.mark.parametrize("kind", TYPES)
def test_every_version_of_every_type_has_a_golden_file_that_still_reads(kind: str) -> None:
    for version in range(1, current_version(kind) + 1):
        golden = GOLDEN / f"{kind}.v{version}.json"
        payload = golden.read_bytes().strip()
        event = decode(payload)
        assert isinstance(event, TYPES[kind]), event
        if version == current_version(kind):
            assert json.loads(encode(event)) == json.loads(payload)


def test_there_is_no_golden_file_of_a_type_that_does_not_exist() -> None:
    assert {path.name.rpartition(".v")[0] for path in GOLDEN.glob("*.json")} == set(TYPES)


VERSIONS = {"job.made": 3}
STEPS = {
    ("job.made", 1): lambda raw: {**raw, "user": raw["owner"]},
    ("job.made", 2): lambda raw: {**raw, "priority": "normal"},
}


def test_old_shapes_are_lifted_one_version_at_a_time() -> None:
    old = {"type": "job.made", "v": 1, "owner": "ada"}
    new = upcast(old, VERSIONS, STEPS)
    assert new == {**old, "v": 3, "user": "ada", "priority": "normal"}


def test_a_missing_step_is_named() -> None:
    steps = {("job.made", 1): STEPS["job.made", 1]}
    with pytest.raises(ValueError, match=r"job\.made version 2 has no upcast to version 3"):
        upcast({"type": "job.made", "v": 1, "owner": "ada"}, VERSIONS, steps)


def test_a_current_shape_is_left_as_it_is() -> None:
    raw = {"type": str(Submitted.__struct_config__.tag), "v": 1}
    assert upcast(raw) == raw
