"""The laws of rows: what the OpenAPI document, and whoever reads it, relies on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from starlette.responses import Response

from everfold.web.contracts import CONTRACTS
from everfold.web.openapi.document import KINDS
from everfold.web.openapi.schemas import Schemas
from everfold.web.operation import Call, Operation, Parameter

ROWS = [row for contract in CONTRACTS for row in contract.operations]
HTTP = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")


def breaches(row: Operation) -> list[str]:
    """Say what a row lacks."""
    in_path = set(re.findall(r"{(\w+)(?::\w+)?}", row.path))
    found = []
    if not re.fullmatch(r"[A-Z][^\n]*[.]", row.summary):
        found.append("its summary is no sentence with a full stop")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", row.name):
        found.append("its name is no word")
    if row.method not in HTTP:
        found.append(f"there is no method {row.method}")
    if not row.path.startswith("/"):
        found.append("its path does not begin with /")
    if not row.answers:
        found.append("it says of no status what is answered")
    if any(kind is dict or kind is object for kind in row.answers.values()):
        found.append("a type of its answers says nothing: write a Struct or a media type")
    found += [f"a {one} has no body" for one in (204, 304) if row.answers.get(one) is not None]
    for one in row.parameters:
        found += [f"its parameter {one.name}: {why}" for why in parameter_breaches(one, in_path)]
    if row.body is not None and row.method in ("GET", "HEAD", "DELETE"):
        found.append(f"a {row.method} has no body")
    return [*found, *type_breaches(row)]


def type_breaches(row: Operation) -> Iterator[str]:
    """Say which types of a row no schema describes."""
    for kind in (row.body, *row.answers.values()):
        if kind is None or isinstance(kind, str):
            continue
        try:
            Schemas([kind])
        except TypeError as error:
            yield f"no schema describes {kind}: {error}"


def parameter_breaches(one: Parameter, in_path: set[str]) -> Iterator[str]:
    """Say what a parameter lacks."""
    if not one.told and one.place != "path":
        yield "it is not told"
    if one.kind not in KINDS:
        yield "it is of a kind that no text is"
    if one.place not in ("query", "header", "path", "cookie"):
        yield f"there is no place {one.place}"
    if one.place == "path" and one.name not in in_path:
        yield "it is not in the path"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_says_all_that_the_document_needs(row: Operation) -> None:
    assert breaches(row) == []


def test_each_name_is_that_of_one_row() -> None:
    names = Counter(row.name for row in ROWS)
    assert {name: n for name, n in names.items() if n > 1} == {}


def test_each_method_of_a_path_is_that_of_one_row() -> None:
    places = Counter(
        (row.method, contract.under[0] + row.path)
        for contract in CONTRACTS
        for row in contract.operations
    )
    assert {place: n for place, n in places.items() if n > 1} == {}


def test_what_changes_something_is_no_readers() -> None:
    changing = [row for row in ROWS if row.method not in ("GET", "HEAD")]
    assert [row.name for row in changing if row.role == "reader" and not row.is_public] == []


# The check itself.


async def _answer(_: Call) -> Response:
    return Response()


def test_a_row_that_says_nothing_is_found() -> None:
    row = Operation(
        method="GET", path="/{a}", answer=_answer, name="a b", summary="none", body=int,
        answers={},
    )  # fmt: skip
    assert len(breaches(row)) == 4
