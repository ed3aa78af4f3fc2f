"""What `everfold doctor` says of one thing."""

from __future__ import annotations

from msgspec import Struct


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    found: str
    advice: str = ""
    """What to change; empty when all is well."""
