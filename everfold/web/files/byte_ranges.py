"""Which part of a file a request asks for (RFC 9110, sections 13 and 14).

Rule: pure. What is not understood is answered with the whole file, as the RFC says.
"""

from __future__ import annotations

import re

from msgspec import Struct

_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE | re.ASCII)


class Part(Struct, frozen=True):
    """Bytes from `start` up to, without, `end`."""

    start: int
    end: int


class Unsatisfiable(ValueError):
    """The file has nothing there: 416."""


def part_of(asked: str | None, size: int, *, if_range: str | None, etag: str) -> Part | None:
    """Return the part that a Range header asks for; None for the whole file.

    Raises Unsatisfiable.
    """
    found = _RANGE.fullmatch(asked or "")
    if found is None or found.groups() == ("", "") or if_range not in (None, etag):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise Unsatisfiable
    return Part(start, end)


def names_etag(header: str | None, etag: str) -> bool:
    """Say whether an If-None-Match header names this version of a file."""
    tags = [tag.strip().removeprefix("W/") for tag in (header or "").split(",")]
    return etag in tags or tags == ["*"]
