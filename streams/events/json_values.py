"""Writes a caller's values as JSON, or says what in them JSON cannot say, and where.

Rule: pure. What is read back equals what was given: nothing is turned into another type on the way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from everfold.streams.border.values import shown
from everfold.streams.events.json_text import NotJson, check_nesting, read_json
from everfold.streams.events.limits import LEAST_WHOLE, MOST_WHOLE, NESTING_LIMIT

_LONG_NUMBER = re.compile(rb"[0-9]{19}")


def write_json(value: object, order: Literal["deterministic"] | None = None) -> bytes:
    """Return the JSON of plain values: None, bools, numbers, texts, lists, tuples and mappings.

    Raises NotJson, with the place, for anything else, for what is nested deeper than NESTING_LIMIT,
    and for numbers that other languages cannot read.
    """
    try:
        encoded = msgspec.json.encode(value, order=order, enc_hook=_as_dict)
        check_nesting(encoded, NESTING_LIMIT)
        is_plain = read_json(encoded) == value and not _LONG_NUMBER.search(encoded)
    except Exception as error:  # a caller's own types may raise anything
        raise NotJson(_fault_of(value) or str(error)) from error
    if not is_plain and (fault := _fault_of(value)):
        raise NotJson(fault)
    return encoded


def _as_dict(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__}")


def _fault_of(value: object) -> str:
    """Return what is wrong with a value and where, empty for nothing."""
    left: list[tuple[tuple[object, ...], object]] = [((), value)]
    while left:
        place, found = left.pop()
        if fault := _own_fault(found, len(place)):
            where = ".".join(str(part)[:40] for part in place[:8])
            return f"{where or 'it'} {fault}"
        if isinstance(found, Mapping):
            left += [((*place, name), part) for name, part in found.items()]
        elif isinstance(found, list | tuple):
            left += [((*place, index), part) for index, part in enumerate(found)]
    return ""


def _own_fault(value: object, level: int) -> str:
    """Return what is wrong with one value, whatever is inside it."""
    match value:
        case None | bool():
            return ""
        case str():
            return "" if _is_text(value) else "holds half a character (a lone surrogate)"
        case int():
            is_whole = LEAST_WHOLE <= value <= MOST_WHOLE
            return "" if is_whole else "is a whole number of more than 64 bits"
        case float():
            return "" if math.isfinite(value) else "is a number that is not finite"
        case list() | tuple() | Mapping() if level >= NESTING_LIMIT:
            return f"is nested deeper than {NESTING_LIMIT} levels"
        case list() | tuple():
            return ""
        case Mapping():
            odd = [name for name in value if not isinstance(name, str) or not _is_text(name)]
            return f"has the name {shown(odd[0])}, which is no text" if odd else ""
    return f"is a {type(value).__name__}, which JSON does not have"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeError:
        return False
    return True
