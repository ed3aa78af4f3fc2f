"""The hash slots of Redis Cluster: which of the 16384 a key falls into.

Rule: pure, and it loads no library.
"""

from __future__ import annotations

import binascii

SLOTS = 16384


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key: that of its hash tag, where it has one that is not empty."""
    whole = key.encode() if isinstance(key, str) else key
    _, brace, rest = whole.partition(b"{")
    tag, closed, _ = rest.partition(b"}")
    hashed = tag if brace and closed and tag else whole
    return binascii.crc_hqx(hashed, 0) % SLOTS  # CRC16 as XMODEM has it, which Redis uses
