"""CLUSTER NODES as the rows of CLUSTER SLOTS, for servers that refuse the latter.

Rule: pure, and total: lines that make no sense are left out. It loads no library.
"""

from __future__ import annotations

import re
from collections import defaultdict

NODES = ("CLUSTER", "NODES")

NODES_LIMIT = 2000
"""Lines of an answer that are read."""

_ADDRESS = re.compile(r"(.*):(\d{1,5})(?:@\d*)?(?:,([^,]*)(?:,.*)?)?")
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_GONE = frozenset({"fail", "noaddr", "handshake"})
"""Flags of a replica that CLUSTER SLOTS does not name."""

Named = list[object]
"""Host, port and id of a node."""


def slot_rows(answer: object) -> list[list[object]]:
    """Return a row for each range of slots: first, last, the primary, and its replicas."""
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else ""
    ranges = list[tuple[int, int, str]]()
    primaries, replicas = dict[str, Named](), defaultdict[str, list[Named]](list)
    for line in text.splitlines()[:NODES_LIMIT]:
        words = line.split(" ")
        found = _ADDRESS.fullmatch(words[1]) if len(words) >= 8 else None
        if found is None:
            continue
        name, flags, primary = words[0], set(words[2].split(",")), words[3]
        node: Named = [(found[1] or found[3] or "").encode(), int(found[2]), name.encode()]
        if "master" in flags:
            primaries[name] = node
            ranges += [(first, last, name) for first, last in _ranges(words[8:])]
        elif not flags & _GONE:
            replicas[primary].append(node)
    return [[first, last, primaries[name], *replicas[name]] for first, last, name in ranges]


def _ranges(words: list[str]) -> list[tuple[int, int]]:
    """Return first and last of each range; slots on their way are named in brackets."""
    found = [match for word in words if (match := _RANGE.fullmatch(word)) is not None]
    return [(int(one[1]), int(one[2] or one[1])) for one in found]
