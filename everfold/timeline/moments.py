"""Reads moments as people write them: an age such as 10m or 2h, or a time in ISO 8601."""

from __future__ import annotations

import re
from datetime import datetime

from msgspec import Struct

from everfold.streams.errors import Misconfigured

UNITS_MS = {"s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
AGE = re.compile(r"([0-9]{1,9})(s|m|min|h|d)")


class Span(Struct, frozen=True):
    """A time from one moment to another, both included; None where it is not bounded."""

    since_ms: int | None = None
    until_ms: int | None = None

    def has(self, moment_ms: int) -> bool:
        """Say whether a moment lies in the span, its ends included."""
        return not self.is_before(moment_ms) and not self.is_after(moment_ms)

    def is_before(self, moment_ms: int) -> bool:
        """Say whether a moment lies before the span."""
        return self.since_ms is not None and moment_ms < self.since_ms

    def is_after(self, moment_ms: int) -> bool:
        """Say whether a moment lies after the span."""
        return self.until_ms is not None and moment_ms > self.until_ms


def span(since: str | None, until: str | None, now_ms: int) -> Span:
    """Return the span between --since and --until, ages counted back from `now_ms`.

    Raises Misconfigured for text that is no time, or a span that ends before it starts.
    """
    found = Span(_moment("--since", since, now_ms), _moment("--until", until, now_ms))
    if found.since_ms is not None and found.is_after(found.since_ms):
        raise Misconfigured(f"--since {since} is later than --until {until}")
    return found


def _moment(option: str, text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    if age := AGE.fullmatch(text.strip()):
        return now_ms - int(age[1]) * UNITS_MS[age[2]]
    try:
        # A time without a zone is one of this machine's.
        return int(datetime.fromisoformat(text.strip()).timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as error:
        raise Misconfigured(
            f"{option} {text!r} is not a time: write an age such as 90s, 10m, 2h or 3d, "
            "or a time such as 2030-01-31T12:00:00Z"
        ) from error
