"""What DuckDB answers with, for a table and for JSON: numbers stay numbers, NULL is no text."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from everfold.commands.output import Cell

MOST_BITS = 63
"""Of a number that is written as one; JSON readers round larger ones."""


def cell(row: Mapping[str, object], name: str) -> Cell:
    """Return a value of a row for a table."""
    value = row[name]
    return None if value is None else str(value)


def json_row(row: Mapping[str, object]) -> dict[str, object]:
    """Return a row for JSON; what JSON has no form for, such as a time, is a text."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: object) -> object:
    match value:
        case None | bool() | str() | float():
            return value
        case int() if value.bit_length() <= MOST_BITS:
            return value
        case Decimal() if value.is_finite():
            return msgspec.Raw(str(value).encode())
        case list() | tuple():
            return [_plain(one) for one in value]
        case dict():
            return {str(name): _plain(one) for name, one in value.items()}
    return str(value)
