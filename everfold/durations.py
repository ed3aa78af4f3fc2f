"""Durations as people write them. Rule: pure, and every duration is read here."""

from __future__ import annotations

import re

DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?)(s|m|min|h|d)?")
UNITS_S = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
DAY_S = 86_400

ENDLESS = "none"
"""How people write that there is no limit."""


def duration_s(text: str) -> float | None:
    """Return the seconds of `90`, `90s`, `1.5h` or `7d`; None if it is no duration."""
    found = DURATION.fullmatch(text.strip())
    return float(found[1]) * UNITS_S[found[2] or ""] if found else None
