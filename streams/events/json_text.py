"""Reads JSON that anybody may have written.

Rule: pure. All stored JSON is decoded here or in codec.py. A wrong text raises ValueError and
nothing else. How deep a text may be nested is the same for all readers, however much stack is left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar

from msgspec import MsgspecError
from msgspec.json import Decoder

from everfold.streams.events.limits import STORED_NESTING

T = TypeVar("T")

UNDECODABLE = (MsgspecError, ValueError, RecursionError)
"""What decoding may raise: text that is not UTF-8 and deep nesting have errors of their own."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]"))


class NotJson(ValueError):
    """The text is not JSON, not of the wanted shape, or nested too deep."""


def decoder(
    kind: type[T],
    levels: int = STORED_NESTING,
    own_type: Callable[[type, object], object] | None = None,
) -> Callable[[bytes | str], T]:
    """Return a function that reads JSON of one type and raises NotJson for anything else.

    `levels` is how deep lists and objects may stand in one another. `own_type` makes values of
    types that JSON does not have.
    """
    decode = Decoder(kind, dec_hook=own_type).decode

    def read(text: bytes | str) -> T:
        try:
            check_nesting(text, levels)
            return decode(text)
        except UNDECODABLE as error:
            raise NotJson(str(error)) from error

    return read


read_json = decoder(object)
"""Read JSON of any shape. Raises NotJson."""


def read_unique_json(text: bytes | str, levels: int) -> object:
    """Read JSON that a person may have written or saved: UTF-8, or UTF-16 or -32 by its mark.

    Raises NotJson, also for a name that stands twice in one object: which one is meant?
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text))
        text = text.removeprefix("\ufeff")
        check_nesting(text, levels)
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UNDECODABLE as error:
        raise NotJson(str(error)) from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise NotJson(f"{twice[:100]!r} stands twice in one object")
    return found


def _refuse_constant(name: str) -> object:
    raise NotJson(f"it holds {name}, which JSON does not have")


def check_nesting(text: bytes | str, levels: int) -> None:
    """Raise NotJson for JSON in which more than `levels` lists and objects stand in one another."""
    if not nests_within(text, levels):
        raise NotJson(f"it is nested deeper than {levels} levels")


def nests_within(text: bytes | str, levels: int) -> bool:
    """Say whether at most `levels` lists and objects of a JSON text stand in one another.

    The answer means nothing for a text that is not JSON.
    """
    if isinstance(text, str):
        if text.count("[") + text.count("{") <= levels:
            return True
        text = text.encode("utf-8", "surrogatepass")
    return text.count(b"[") + text.count(b"{") <= levels or _level_by_level(text, levels)


def _level_by_level(text: bytes, levels: int) -> bool:
    """Take the innermost pairs of brackets away, once for each level; say whether none is left."""
    left = _STRING.sub(b"", text).translate(_ONE_KIND).translate(None, _NO_BRACKETS)
    for _ in range(levels):
        left = left.replace(b"[]", b"")
    return not left
