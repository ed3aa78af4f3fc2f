"""Sizes as people write and read them. Rule: pure; a KB is 1,000 bytes, a KiB 1,024."""

from __future__ import annotations

import re

SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([kmgt]i?b?|b)?", re.IGNORECASE)
UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
BINARY = {"k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def size_bytes(text: str) -> int | None:
    """Return the bytes of `500MB`, `10GiB`, `1.5g` or `4096`; None if it is no size."""
    found = SIZE.fullmatch(text.strip())
    if not found:
        return None
    unit = (found[2] or "").lower().rstrip("b")
    scale = BINARY[unit[0]] if unit.endswith("i") else UNITS[unit]
    return int(float(found[1]) * scale)


def size_text(count: float) -> str:
    """Return bytes in the unit that fits: `812 B`, `2.0 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
