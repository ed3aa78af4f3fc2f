"""Reads JSON as Python's json module writes it, into values that strict JSON can hold.

Rule: pure. ComfyUI's bodies may hold bare NaN and Infinity, which become null, and lone surrogates,
which become question marks, because outputs go into the log and the log is strict JSON.
"""

from __future__ import annotations

import json
import math

import msgspec

from everfold.streams.events.json_text import UNDECODABLE, check_nesting
from everfold.streams.events.limits import BACKEND_NESTING

MOST_WHOLE = 2**53
"""Beyond it a float no longer holds each integer, and nothing here counts so far."""


def read(text: bytes | str) -> object:
    """Return the value of `text`; raise ValueError, and nothing else, when it is not JSON."""
    check_nesting(text, BACKEND_NESTING)
    try:
        return msgspec.json.decode(text)
    except UNDECODABLE:
        return _read_slowly(text)


def _read_slowly(text: bytes | str) -> object:
    try:
        return _plain(json.loads(text, parse_constant=lambda _: None))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _plain(value: object) -> object:
    match value:
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case str():
            return value.encode("utf-8", "replace").decode()
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value


# Each returns a value of its type for any argument: an empty one when the type is wrong.


def as_object(value: object) -> dict[str, object]:
    """Return `value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Return `value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Return `value` if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def as_texts(value: object) -> list[str]:
    """Return the texts in a list; other items are left out."""
    return [item for item in as_list(value) if isinstance(item, str)]


def as_whole(value: object) -> int | None:
    """Return a number up to MOST_WHOLE as an integer; None for anything else, and for booleans."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if -MOST_WHOLE <= value <= MOST_WHOLE else None
