"""Events to JSON and back: nothing is lost, nothing stops a reader, old logs stay readable."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everfold.streams.errors import EventTooNew, Refused
from everfold.streams.events import codec
from everfold.streams.events.codec import (
    CURRENT_VERSION,
    UPCASTS,
    WITH_FREE_JSON,
    RawEvent,
    Unreadable,
    Upcast,
    current_version,
    decode,
    encode,
    encode_trusted,
    upcast,
)
from everfold.streams.events.event import (
    CLOSING_STATUS,
    Event,
    Failure,
    Lost,
    NodeProblem,
    OutputSaved,
    Policy,
    Progressed,
    Started,
    Submitted,
    closing_status,
)
from tests.streams.events.golden import STATED

GOLDEN = Path(__file__).parents[2] / "data" / "events"
TYPES = {str(kind.__struct_config__.tag): kind for kind in get_args(Event)}

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBER = st.integers(-(2**53), 2**53)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, ANY_JSON, max_size=3)
TIME_S = st.none() | st.floats(0, 1e6)
FIELD = {
    "policy": st.builds(
        Policy,
        retry_backoff_s=st.floats(0, 1e6),
        recovery_max_age_s=st.floats(0, 1e6),
        queue_deadline_s=TIME_S,
        run_deadline_s=TIME_S,
        stall_deadline_s=TIME_S,
    ),
    "trace": TEXT,
    "metadata": OBJECT,
    "output": OBJECT,
    "outputs": st.dictionaries(TEXT, OBJECT, max_size=3),
    "value": st.floats(0, 1),
}
PROBLEM = st.builds(NodeProblem, node=TEXT, message=TEXT, input=st.none() | TEXT)
FAILURE = st.builds(Failure, message=TEXT, details=st.lists(PROBLEM, max_size=2))


def event_of(kind: type) -> st.SearchStrategy[Event]:
    """Draw events of one type; what has no strategy of its own is drawn by its annotation."""
    fields = {name: FIELD[name] for name in kind.__struct_fields__ if name in FIELD}  # type: ignore[attr-defined]  # every Struct has them
    if "failure" in kind.__struct_fields__:  # type: ignore[attr-defined]
        fields["failure"] = FAILURE
    return st.builds(kind, v=st.just(current_version(tag_of(kind))), **fields)


def tag_of(kind: type) -> str:
    return next(tag for tag, found in TYPES.items() if found is kind)


@pytest.mark.parametrize("kind", TYPES)
@settings(max_examples=40)
@given(data=st.data())
def test_what_was_encoded_is_decoded_to_the_same_event(kind: str, data: st.DataObject) -> None:
    event = data.draw(event_of(TYPES[kind]))
    assert decode(encode(event)) == event


UNWRITABLE: dict[str, Event] = {
    "no number": Progressed(attempt=1, value=math.nan, nodes_done=0, nodes_total=1),
    "no end": Submitted(
        kind="",
        user="",
        queue="default",
        priority="normal",
        workflow="",
        metadata={},
        policy=Policy(retry_backoff_s=math.inf),
    ),
    "text for a number": Started(attempt="1"),  # type: ignore[arg-type]
    "no JSON": OutputSaved(attempt=1, node="1", output={"x": object()}),
    "half a character": Started(attempt=1, actor="\ud800"),
    "a version that nobody has": Started(attempt=1, v=7),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_an_event_that_nobody_could_read_is_refused_before_it_enters_the_log(name: str) -> None:
    with pytest.raises(Refused, match=r"cannot be written as JSON|nobody could read this"):
        encode(UNWRITABLE[name])


def test_every_type_with_free_json_is_checked_in_trusted_code_too() -> None:
    free = {k for k in TYPES.values() if "<class 'object'>" in repr(msgspec.inspect.type_info(k))}
    assert free == WITH_FREE_JSON


@pytest.mark.parametrize("name", ["no end", "no JSON", "half a character"])
def test_values_from_outside_are_refused_in_trusted_code_too(name: str) -> None:
    with pytest.raises(Refused, match=r"cannot be written as JSON|nobody could read this"):
        encode_trusted(UNWRITABLE[name])


@pytest.mark.parametrize("name", sorted(STATED))
def test_trusted_code_writes_the_same_json(name: str) -> None:
    assert encode_trusted(STATED[name]) == encode(STATED[name])


@given(st.binary(max_size=200) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_becomes_a_value_that_keeps_the_bytes(garbage: bytes) -> None:
    found = decode(garbage)
    assert isinstance(found, Unreadable)
    assert found.payload == garbage
    assert found.why


@given(st.sampled_from(sorted(STATED)), st.data())
def test_a_broken_event_becomes_a_value_and_never_an_error(name: str, data: st.DataObject) -> None:
    whole = encode(STATED[name])
    at = data.draw(st.integers(0, len(whole) - 1))
    broken = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + 1 :]
    found = decode(broken)
    assert not isinstance(found, Unreadable) or found.payload == broken


@given(st.sampled_from(sorted(STATED)), st.data())
def test_a_field_of_another_kind_becomes_a_value_and_never_an_error(
    name: str, data: st.DataObject
) -> None:
    raw = json.loads(encode(STATED[name]))
    field = data.draw(st.sampled_from(sorted(raw)))
    assert decode(json.dumps({**raw, field: data.draw(ANY_JSON)}).encode()) is not None


@pytest.mark.parametrize("depth", [2_000, 200_000])
@pytest.mark.parametrize("end", ["]", ""])
def test_what_is_nested_too_deep_to_be_read_is_a_value_too(depth: int, end: str) -> None:
    start = b'{"type":"job.output_saved","v":1,"attempt":1,"node":"1","output":{"x":'
    found = decode(start + b"[" * depth + end.encode() * depth + b"}}")
    assert isinstance(found, Unreadable)


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text()))
def test_any_object_of_an_unknown_type_becomes_a_value(fields: dict[str, object]) -> None:
    payload = json.dumps({**fields, "type": "job.from_the_future"}).encode()
    found = decode(payload)
    assert isinstance(found, Unreadable)
    assert found.payload == payload


@pytest.mark.parametrize("name", sorted(STATED))
def test_unknown_fields_are_ignored(name: str) -> None:
    raw = json.loads(encode(STATED[name]))
    assert decode(json.dumps({**raw, "mood": {"good": [1]}}).encode()) == STATED[name]


@pytest.mark.parametrize("kind", TYPES)
def test_a_newer_version_of_a_known_type_is_unreadable_and_says_why(kind: str) -> None:
    known = current_version(kind)
    raw = json.loads(encode(STATED[f"{kind}.v{known}"]))
    found = decode(json.dumps({**raw, "v": known + 1}).encode())
    assert isinstance(found, Unreadable)
    assert found.kind == kind
    assert f"schema version {known + 1}; this Everfold knows up to {known}" in found.why


def test_an_event_without_a_version_is_of_the_first() -> None:
    assert decode(b'{"type":"job.started","attempt":2}') == Started(attempt=2)


@pytest.mark.parametrize("kind", TYPES)
def test_every_version_of_every_type_has_a_golden_file_that_says_what_is_stated(kind: str) -> None:
    for version in range(1, current_version(kind) + 1):
        name = f"{kind}.v{version}"
        assert decode((GOLDEN / f"{name}.json").read_bytes()) == STATED[name]


@pytest.mark.parametrize("kind", TYPES)
def test_the_newest_golden_file_is_what_is_written_today_but_for_newer_fields(kind: str) -> None:
    name = f"{kind}.v{current_version(kind)}"
    stored = json.loads((GOLDEN / f"{name}.json").read_bytes())
    assert _only(stored, json.loads(encode(STATED[name]))) == stored


def _only(stored: object, written: object) -> object:
    """Return of what is written the fields that are stored, at every depth."""
    if isinstance(stored, dict) and isinstance(written, dict):
        return {name: _only(value, written.get(name)) for name, value in stored.items()}
    return written


@pytest.mark.parametrize("name", sorted(STATED))
def test_a_golden_file_is_of_the_type_and_version_that_its_name_says(name: str) -> None:
    raw = json.loads((GOLDEN / f"{name}.json").read_bytes())
    assert f"{raw['type']}.v{raw['v']}" == name


def test_golden_files_and_stated_values_belong_together() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(STATED)
    assert {name.rpartition(".v")[0] for name in STATED} == set(TYPES)


def test_the_terminal_events_and_no_others_close_a_job() -> None:
    closing = {closing_status(event) for event in STATED.values()} - {""}
    assert closing == {"succeeded", "failed", "canceled", "expired"}
    assert {type(event) for event in STATED.values() if closing_status(event)} == set(
        CLOSING_STATUS
    )


# Old shapes: lifted one version at a time, and one that is not known is named.

VERSIONS = {"job.made": 3}
STEPS: dict[tuple[str, int], Upcast] = {
    ("job.made", 1): lambda raw: {**raw, "user": raw["owner"]},
    ("job.made", 2): lambda raw: {**raw, "priority": f"normal for {raw['user']}"},
}
OLD: RawEvent = {"type": "job.made", "v": 1, "owner": "ada"}


def test_each_version_is_lifted_through_all_that_follow() -> None:
    newest = {**OLD, "v": 3, "user": "ada", "priority": "normal for ada"}
    assert upcast(OLD, VERSIONS, STEPS) == newest
    assert upcast({**OLD, "v": 2, "user": "bob"}, VERSIONS, STEPS) == {
        **newest,
        "user": "bob",
        "priority": "normal for bob",
    }
    assert upcast(newest, VERSIONS, STEPS) == newest


def test_lifting_leaves_the_stored_event_as_it_was() -> None:
    stored = dict(OLD)
    upcast(stored, VERSIONS, STEPS)
    assert stored == OLD


@pytest.mark.parametrize("missing", [1, 2])
def test_a_missing_step_is_named(missing: int) -> None:
    steps = {key: step for key, step in STEPS.items() if key != ("job.made", missing)}
    with pytest.raises(
        ValueError, match=f"version {missing} has no upcast to version {missing + 1}"
    ):
        upcast(OLD, VERSIONS, steps)


@pytest.mark.parametrize("version", [4, 10**30, "2", None, 1.5])
def test_a_version_that_is_not_known_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match=f"schema version {version}; this Everfold knows up to 3"):
        upcast({**OLD, "v": version}, VERSIONS, STEPS)


def test_a_raw_event_without_a_version_is_of_the_first() -> None:
    assert upcast({"type": "job.made", "owner": "ada"}, VERSIONS, STEPS)["v"] == 3


def test_every_old_version_has_its_step_today() -> None:
    needed = {(kind, v) for kind, newest in CURRENT_VERSION.items() for v in range(1, newest)}
    assert set(UPCASTS) == needed


# Ignorable events, and levels.


UNKNOWN = b'{"type":"job.annotated","id":"x","actor":"n","v":1%s}'


@pytest.mark.parametrize(
    ("extra", "skipped"),
    [
        (b"", False),
        (b',"ignorable":true', True),
        (b',"ignorable":false', False),
        (b',"ignorable":1', False),
        (b',"ignorable":"true"', False),
    ],
)
def test_only_what_its_author_calls_ignorable_is_passed_over(extra: bytes, skipped: bool) -> None:
    event = decode(UNKNOWN % extra)
    assert isinstance(event, Unreadable)
    assert event.skipped is skipped


def test_a_newer_end_is_never_ignorable() -> None:
    event = decode(b'{"type":"job.succeeded","id":"x","actor":"n","v":9,"ignorable":true}')
    assert isinstance(event, Unreadable)
    assert not event.skipped


def test_an_event_is_written_as_the_readers_of_a_namespace_know_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codec, "CURRENT_VERSION", {"job.started": 3})
    monkeypatch.setattr(
        codec,
        "DOWNCASTS",
        {
            ("job.started", 3): lambda raw: {**raw, "attempt": raw["attempt"] - 10},
            ("job.started", 2): lambda raw: {**raw, "attempt": raw["attempt"] * 2},
        },
    )
    levels = {("job.started", 2): 2, ("job.started", 3): 5, ("job.lost", 1): 4}
    monkeypatch.setattr(codec, "INTRODUCED", levels)
    event = Started(attempt=17)
    found = [msgspec.json.decode(encode_trusted(event, level=level)) for level in (1, 2, 4, 5)]
    assert [(raw["v"], raw["attempt"]) for raw in found] == [(1, 14), (2, 7), (2, 7), (3, 17)]
    assert codec.reader_level() == 5
    with pytest.raises(EventTooNew, match="readers of level 4"):
        encode_trusted(Lost(attempt=1, backend="b", cause="given_up"), level=3)
