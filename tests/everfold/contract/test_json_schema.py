"""The schema accepts what a reader of the log can read, and nothing else."""

from __future__ import annotations

import json
from functools import cache

import pytest
from jsonschema import Draft202012Validator

from everfold.contract import documents
from everfold.contract.docstrings import docstrings
from everfold.contract.json_schema import EVENT_TYPES, event_urn
from everfold.streams.events.codec import Unreadable, decode
from tests.everfold.contract.schemas import GOLDEN, Json, changed, events_schema, references

WHOLE = Draft202012Validator(events_schema())
ENVELOPE = {"type", "id", "actor", "v", "trace"}


@cache
def of_type(event_type: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(documents.json_schema(event_type)))


@pytest.mark.parametrize("event_type", ["", *EVENT_TYPES])
def test_each_document_is_a_schema(event_type: str) -> None:
    Draft202012Validator.check_schema(json.loads(documents.json_schema(event_type)))


def test_every_type_has_a_golden_event() -> None:
    assert {event["type"] for event in GOLDEN.values()} == set(EVENT_TYPES)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_event_fits_the_schema_of_its_type_and_no_other(name: str) -> None:
    event = GOLDEN[name]
    assert WHOLE.is_valid(event)
    fitting = [each for each in EVENT_TYPES if of_type(each).is_valid(event)]
    assert fitting == [event["type"]]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_schema_refuses_a_changed_event_exactly_when_no_reader_could_read_it(name: str) -> None:
    event, told = GOLDEN[name], set()
    own = of_type(event["type"])
    for mutant in changed({**event, "trace": "00-aa-bb-01"}):
        readable = not isinstance(decode(json.dumps(mutant).encode()), Unreadable)
        assert WHOLE.is_valid(mutant) == readable, mutant
        if mutant.get("type") == event["type"]:
            assert own.is_valid(mutant) == readable, mutant
        told.add(readable)
    assert told == {True, False}


@pytest.mark.parametrize("name", GOLDEN)
def test_every_required_field_is_missed(name: str) -> None:
    event = GOLDEN[name]
    required = json.loads(documents.json_schema(event["type"]))["required"]
    for field in required:
        without = {key: value for key, value in event.items() if key != field}
        assert not of_type(event["type"]).is_valid(without), field
    assert required[0] == "type"


@pytest.mark.parametrize("name", GOLDEN)
def test_a_field_that_is_not_known_is_allowed(name: str) -> None:
    assert WHOLE.is_valid({**GOLDEN[name], "of_a_later_version": {"x": [1]}})


def test_a_type_of_a_raised_version_has_another_name_and_must_state_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("everfold.contract.json_schema.current_version", lambda kind: 2)
    schema, event = json.loads(documents.json_schema("job.claimed")), GOLDEN["job.claimed.v1"]
    assert schema["$id"] == "urn:everfold:event:job.claimed:2"
    raised = Draft202012Validator(schema)
    assert raised.is_valid({**event, "v": 2})
    assert not raised.is_valid(event)
    assert not raised.is_valid({key: value for key, value in event.items() if key != "v"})


def test_an_event_of_a_newer_version_or_of_no_known_type_is_refused() -> None:
    event = GOLDEN["job.claimed.v1"]
    assert not WHOLE.is_valid({**event, "v": 2})
    assert not WHOLE.is_valid({**event, "type": "job.teleported"})


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_type_s_own_document_is_complete_and_named(event_type: str) -> None:
    schema = json.loads(documents.json_schema(event_type))
    named = {reference.removeprefix("#/$defs/") for reference in references(schema)}
    assert named == set(schema.get("$defs", {}))
    assert schema["$id"] == event_urn(event_type) == f"urn:everfold:event:{event_type}:1"
    assert set(schema["properties"]) >= ENVELOPE


def test_each_event_and_each_documented_field_is_described() -> None:
    schemas = events_schema()["$defs"]
    assert schemas["Lost"]["description"].startswith("The backend has forgotten the attempt")
    cause = schemas["Lost"]["properties"]["cause"]
    assert cause["description"].startswith("backend_restarted, deleted_there,")
    outputs = schemas["Succeeded"]["properties"]["outputs"]
    assert outputs["description"].startswith("What ComfyUI reported per output node")
    assert all(schema["description"] for schema in schemas.values())
    assert all(said(schemas[kind.__name__], "id") for kind in EVENT_TYPES.values())


def said(schema: Json, field: str) -> str:
    return str(schema["properties"][field]["description"])


SOURCE = '''
Names = dict[str, str]
"""Words of
the alias."""

class Thing:
    """Of the class."""

    first: int
    """Of the
    first."""
    second: int = 2
    third: Names
    fourth: Names = {}
    """Its own."""
'''


def test_the_words_of_a_field_are_those_below_it_or_those_of_its_alias() -> None:
    assert docstrings(SOURCE) == {
        "Thing": "Of the class.",
        "Thing.first": "Of the first.",
        "Thing.third": "Words of the alias.",
        "Thing.fourth": "Its own.",
    }
