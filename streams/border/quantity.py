"""Numbers of things as sentences have them: `1 job`, `1,200 jobs`. Rule: pure."""

from __future__ import annotations


def quantity(count: int, thing: str) -> str:
    """Return so many things; `thing` is the name of one, whose plural ends in -s."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
