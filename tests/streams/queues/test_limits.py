"""The limits that the documents name are those of the code."""

from __future__ import annotations

from pathlib import Path

from everfold.streams.events.limits import LIMITS

DOCUMENT = Path(__file__).parents[3] / "docs" / "ARCHITECTURE.md"


def test_the_document_has_a_row_for_every_limit() -> None:
    text = DOCUMENT.read_text()
    rows = [f"| {one.what} | {one.most:,} {one.unit} | {one.why} |\n" for one in LIMITS]
    assert [row for row in rows if row not in text] == []
