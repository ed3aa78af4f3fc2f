"""The documents in docs/contract are those that the code makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from everfold.contract import documents
from everfold.web.openapi.route import openapi_text

ROOT = Path(__file__).parents[3]
MADE: dict[str, tuple[str, Callable[[], str]]] = {
    "docs/contract/events.schema.json": ("everfold schema json", documents.json_schema),
    "docs/contract/asyncapi.json": ("everfold schema asyncapi", documents.asyncapi),
    "docs/contract/openapi.json": ("everfold schema openapi", openapi_text),
}


@pytest.mark.parametrize("path", MADE)
def test_a_committed_document_is_up_to_date(path: str) -> None:
    command, made = MADE[path]
    if (ROOT / path).read_text() != made():
        pytest.fail(f"{path} is out of date: run `{command} > {path}`", pytrace=False)


@pytest.mark.parametrize("path", MADE)
def test_a_document_ends_with_one_line_end_and_is_indented_by_two(path: str) -> None:
    text = MADE[path][1]()
    assert text.endswith("\n}\n")
    assert text.splitlines()[1].startswith('  "')


def test_no_other_document_lies_there() -> None:
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "contract").iterdir()}
    assert there == set(MADE)
