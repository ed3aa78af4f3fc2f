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


NAME_LIMIT = 200
"""Characters of a name: it goes into events, which are not shortened there."""

MOST_VALUES = 300_000
"""More values take too much memory, and keep the event loop waiting while they are read."""

MOST_ODD_BYTES = 40 * 2**20
"""Of a text that only the slow decoder reads."""

COUNTED_AT_ONCE = 2**20


class TooManyValues(ValueError):
    """The text may hold more values than are read, or is too long for the slow decoder."""


def read(text: bytes | str, most_values: int = MOST_VALUES) -> object:
    """Return the value of `text`; raise ValueError, and nothing else, when it is not JSON.

    Raises TooManyValues, which is one, when it may hold more than `most_values`.
    """
    refuse_more_values(text, most_values)
    check_nesting(text, BACKEND_NESTING)
    try:
        return msgspec.json.decode(text)
    except UNDECODABLE:
        return _read_slowly(text)


def refuse_more_values(text: bytes | str, most: int) -> None:
    """Raise TooManyValues when the text may hold more than `most` values."""
    if count_values(text, most) > most:
        raise TooManyValues(f"it may hold more than {most:,} values")


def count_values(text: bytes | str, most: int) -> int:
    """Return at least how many values the text holds; stops once there may be more than `most`.

    Before each value but the first stands a comma or an opening bracket. Those within texts count
    too.
    """
    count, size = 1, len(text)
    for start in range(0, size, COUNTED_AT_ONCE):
        end = start + COUNTED_AT_ONCE
        if isinstance(text, str):
            count += sum(text.count(sign, start, end) for sign in ",[{")
        else:
            count += sum(text.count(sign, start, end) for sign in (b",", b"[", b"{"))
        if count > most:
            break
    return count


def _read_slowly(text: bytes | str) -> object:
    if len(text) > MOST_ODD_BYTES:
        raise TooManyValues(f"it has {len(text):,} bytes and is no strict JSON")
    try:
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
        return value if _is_encodable(value) else _plain(value)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _is_encodable(value: object) -> bool:
    """Return whether no text in it has a lone surrogate: looking at each text takes much longer."""
    try:
        msgspec.json.encode(value)
    except UnicodeError:
        return False
    return True


def _plain(value: object) -> object:
    match value:
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case str():
            return value.encode("utf-8", "replace").decode()
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


def as_name(value: object) -> str:
    """Return `value` if it is a text, without what is longer than any name of a node or class."""
    return as_text(value)[:NAME_LIMIT]


def as_texts(value: object) -> list[str]:
    """Return the texts in a list; other items are left out."""
    return [item for item in as_list(value) if isinstance(item, str)]


def as_whole(value: object) -> int | None:
    """Return a number up to MOST_WHOLE as an integer; None for anything else, and for booleans."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if -MOST_WHOLE <= value <= MOST_WHOLE else None
