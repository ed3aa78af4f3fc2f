"""One sentence about a server. Rule: pure."""

from __future__ import annotations

from msgspec import Struct


class ServerFinding(Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    found: str
    advice: str = ""
    """What to change; empty where all is well."""
    loses: bool = False
    """Whether jobs are lost, or will be, if nothing is changed."""
    stops: bool = False
    """Whether writes stop, or will at the next failover, if nothing is changed."""
