"""Reads the numbers and entry ids of a stored hash, which anybody may have written.

Rule: pure and total. A field that is missing is 0 or 0-0; one that cannot be read is None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from everfold.streams.events.record import NO_ENTRY

GREATEST = 2**64 - 1

_ENTRY_ID = re.compile(rb"[0-9]{1,20}-[0-9]{1,20}")


def stored_number(stored: Mapping[bytes, bytes], field: bytes) -> int | None:
    """Return a number from 0 on, of up to 64 bits."""
    text = stored.get(field, b"0")
    number = int(text) if text.isdigit() and len(text) <= 20 else None
    return number if number is not None and number <= GREATEST else None


def stored_entry_id(stored: Mapping[bytes, bytes], field: bytes) -> str | None:
    """Return an entry id as the server writes it."""
    text = stored.get(field, NO_ENTRY.encode())
    return text.decode() if is_entry_id(text) else None


def is_entry_id(text: bytes) -> bool:
    """Say whether this is an entry id as the server writes it."""
    if not _ENTRY_ID.fullmatch(text):
        return False
    # Only twenty digits can be more than the server counts to.
    return len(text) <= 20 or all(int(part) <= GREATEST for part in text.split(b"-"))
