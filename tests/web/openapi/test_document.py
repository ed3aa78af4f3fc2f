"""The OpenAPI document that is made of the rows."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from everfold.projector.job.job import Job
from everfold.web.contracts import CONTRACTS
from everfold.web.openapi.route import openapi_text

pytestmark = pytest.mark.anyio


def test_the_document_is_one_of_openapi() -> None:
    assert list(OpenAPIV31SpecValidator(json.loads(openapi_text())).iter_errors()) == []


def test_the_validator_would_complain() -> None:
    bad = {"openapi": "3.1.0", "info": {"title": "x"}, "paths": {}}
    assert list(OpenAPIV31SpecValidator(bad).iter_errors())


def test_every_documented_row_is_in_it_with_its_errors() -> None:
    paths = json.loads(openapi_text())["paths"]
    told = {one["operationId"]: one for item in paths.values() for one in item.values()}
    rows = [row for one in CONTRACTS if one.is_documented for row in one.operations]

    assert set(told) == {row.name for row in rows}
    for row in rows:
        assert {*map(str, row.answers), "4XX", "503"} == set(told[row.name]["responses"])


def test_a_type_is_described_by_the_words_of_its_class() -> None:
    schema = json.loads(openapi_text())["components"]["schemas"]["Job"]

    assert schema["description"].startswith("A job's state after one of its events.")
    assert schema["properties"]["progress"]["description"] == "0 to 1; never falls."
    assert schema["properties"]["queue"]["default"] == "default"
    assert set(schema["properties"]) == set(Job.__struct_fields__)


def _references(value: object) -> Iterator[str]:
    match value:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for one in value.values():
                yield from _references(one)
        case list():
            for one in value:
                yield from _references(one)


def test_each_reference_leads_somewhere_and_each_schema_is_used() -> None:
    document = json.loads(openapi_text())
    used = set(_references(document))
    there = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses")
        for name in document["components"][kind]
    }

    assert used == there


async def test_it_is_served(client: httpx.AsyncClient) -> None:
    answer = await client.get("/openapi.json")

    assert answer.headers["content-type"] == "application/json"
    assert answer.text == openapi_text()
