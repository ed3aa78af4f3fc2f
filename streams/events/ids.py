"""New identifiers: UUIDv7 (RFC 9562 §5.7), which sort by the time of their making."""

from __future__ import annotations

import os
import random
import secrets
import time
import uuid

JOB_NAMESPACE = uuid.UUID("6f0e3c1a-5d0b-5c56-9d7f-4b1f4a3ad2c9")
"""uuid5 namespace under which idempotency keys and attempts become ids."""

_chance = random.Random()
"""Our own: programs seed the shared one. A forked child seeds it anew, or it would repeat ids."""
os.register_at_fork(after_in_child=_chance.seed)

_newest = [0]
"""The last id as a number: milliseconds, then 74 bits of chance."""


def new_id() -> str:
    """Return a fresh UUIDv7 in canonical lower case, greater than all before it in this process."""
    number = time.time_ns() // 1_000_000 << 74 | _chance.getrandbits(73)
    if number >> 74 <= _newest[0] >> 74:
        number = _newest[0] + 1 + _chance.getrandbits(40)
    _newest[0] = number
    return _uuid7(number >> 74, number & (1 << 74) - 1)


def _uuid7(ms: int, chance: int) -> str:
    first, second, third = chance >> 62, 0x8000 | chance >> 48 & 0x3FFF, chance & 0xFFFF_FFFF_FFFF
    return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{first:03x}-{second:04x}-{third:012x}"


def new_job_id() -> str:
    """Return a fresh UUIDv7 that nobody can guess from others: who knows a job's id may ask for
    the job. Of two that were made in one millisecond either may be the greater."""
    return _uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))


def job_id_for(generation: str, user: str, idempotency_key: str) -> str:
    """Return the job id that belongs to an idempotency key of a user: always the same one.

    Whoever does not know the generation id of the namespace cannot guess it from the key.
    """
    return str(uuid.uuid5(JOB_NAMESPACE, f"{generation}\n{user}\n{idempotency_key}"))


def uuid_time_ms(uuid7: str) -> int:
    """Return the Unix milliseconds at which a UUIDv7 was made. ValueError for no UUID at all."""
    return uuid.UUID(uuid7).int >> 80
