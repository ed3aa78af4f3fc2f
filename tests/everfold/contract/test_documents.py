"""The contract's documents are those of the code, valid by their standards, and can refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import jsonschema
import pytest

from everfold.contract.asyncapi import ENTRY_FIELDS, asyncapi
from everfold.contract.json_schema import event_kinds, schema_of, schema_of_all
from streams.errors import Misconfigured
from streams.record import FIELDS

ROOT = Path(__file__).parents[3]
GOLDEN = sorted((ROOT / "tests" / "data" / "events").glob("*.json"))

Json = dict[str, object]


def read(path: Path) -> Json:
    return cast("Json", json.loads(path.read_text()))


def is_valid(event: Json, schema: Json) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(event)


@pytest.mark.parametrize(
    ("name", "document", "command"),
    [
        ("events.schema.json", schema_of_all, "json"),
        ("asyncapi.json", asyncapi, "asyncapi"),
    ],
)
def test_the_committed_document_is_the_one_of_the_code(
    name: str, document: object, command: str
) -> None:
    path = ROOT / "docs" / "contract" / name
    assert callable(document)
    assert read(path) == document(), f"run: everfold schema {command} > docs/contract/{name}"


def test_the_schemas_are_schemas() -> None:
    jsonschema.Draft202012Validator.check_schema(schema_of_all())
    for kind in event_kinds():
        jsonschema.Draft202012Validator.check_schema(schema_of(kind))


def test_there_is_a_golden_event_of_each_type() -> None:
    assert {read(path)["type"] for path in GOLDEN} == set(event_kinds())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_stored_event_fits_its_schema_and_no_other(path: Path) -> None:
    event = read(path)
    assert is_valid(event, schema_of_all())
    fitting = [kind for kind in event_kinds() if is_valid(event, schema_of(kind))]
    assert fitting == [event["type"]]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_an_event_that_lacks_a_field_or_has_a_wrong_one_does_not_fit(path: Path) -> None:
    event = read(path)
    schema = schema_of(str(event["type"]))
    for field in cast("list[str]", schema["required"]):
        assert not is_valid({k: v for k, v in event.items() if k != field}, schema), field
    for field in cast("Json", schema["properties"]):
        assert not is_valid({**event, field: [[{}]]}, schema), field
    assert is_valid({**event, "of_a_later_version": 1}, schema)


def test_every_field_that_has_words_in_the_code_has_them_in_the_schema() -> None:
    properties = cast("dict[str, Json]", schema_of("recovered")["properties"])
    assert properties["idle_ms"]["description"] == "How long the lease had not been renewed."
    assert properties["id"]["description"].startswith("UUIDv7")  # type: ignore[attr-defined]


def test_a_type_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(Misconfigured, match=r"'canceld'; did you mean job\.canceled"):
        schema_of("canceld")


def test_the_asyncapi_document_is_valid_by_the_official_schema() -> None:
    official = read(ROOT / "tests" / "data" / "asyncapi" / "3.0.0.json")
    validator = jsonschema.Draft7Validator(official)
    assert [error.message for error in validator.iter_errors(asyncapi())] == []
    broken = {**asyncapi(), "operations": {"consume": {"action": "shout"}}}
    assert not validator.is_valid(broken)


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()
    references = set[str]()
    left: list[object] = [document]
    while left:
        match left.pop():
            case dict(part):
                references |= {str(part["$ref"])} if "$ref" in part else set()
                left += part.values()
            case list(parts):
                left += parts
    assert len(references) > 40
    for reference in references:
        place: object = document
        for name in reference.removeprefix("#/").split("/"):
            assert isinstance(place, dict)
            assert name in place, reference
            place = place[name]


def test_the_entry_s_fields_are_those_of_the_log() -> None:
    assert [name.encode() for name in ENTRY_FIELDS] == FIELDS
