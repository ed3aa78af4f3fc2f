"""New identifiers: UUIDv7 (RFC 9562 §5.7), which sort by the time of their making."""

from __future__ import annotations

import os
import time
import uuid

JOB_NAMESPACE = uuid.UUID("6f0e3c1a-5d0b-5c56-9d7f-4b1f4a3ad2c9")
"""uuid5 namespace under which idempotency keys and attempts become ids."""


def new_id() -> str:
    """Return a fresh UUIDv7 in canonical lower case."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def job_id_for(namespace: str, idempotency_key: str) -> str:
    """Return the job id that belongs to an idempotency key: always the same one."""
    return str(uuid.uuid5(JOB_NAMESPACE, f"{namespace}\n{idempotency_key}"))


def uuid_time_ms(uuid7: str) -> int:
    """Return the Unix time that a UUIDv7 was made at."""
    return uuid.UUID(uuid7).int >> 80
