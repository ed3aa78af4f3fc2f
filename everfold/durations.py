"""Durations as people read and write them. Rule: pure, and each is read and written here."""

from __future__ import annotations

import re

DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?)(s|m|min|h|d)?")
UNITS_S = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
DAY_S = 86_400
SHOWN_UNITS = (
    (86_400, "d", 3_600, "h"),
    (3_600, "h", 60, "min"),
    (60, "min", 1, "s"),
)
"""Seconds and name of a unit that is shown, and of the one below it."""

ENDLESS = "none"
"""How people write that there is no limit."""


def duration_s(text: str) -> float | None:
    """Return the seconds of `90`, `90s`, `1.5h` or `7d`; None if it is no duration."""
    found = DURATION.fullmatch(text.strip())
    return float(found[1]) * UNITS_S[found[2] or ""] if found else None


def duration_text(seconds: float) -> str:
    """Return a duration in the unit that fits and the next one: 250 ms, 45 s, 2 h 5 min, 3 d."""
    if seconds < 1:
        return f"{1000 * max(0.0, seconds):.0f} ms" if seconds > 0.0005 else "0 s"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    rest = round(seconds)
    for size, unit, smaller, name in SHOWN_UNITS:
        if rest >= size:
            more = rest % size // smaller
            return f"{rest // size:,} {unit}" + (f" {more} {name}" if more else "")
    return f"{rest} s"


def span_text(seconds: float) -> str:
    """Return a time span as all output writes it; less than a second counts as none."""
    return duration_text(seconds if seconds >= 1 else 0)
