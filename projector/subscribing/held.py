"""Held jobs: those whose next event could not be delivered, while all others go on.

Rule: pure. A held job's later events wait behind that event, so that a subscriber sees each job in
order. It is tried again after growing waits, and parked when they are used up: then only a person's
`retry` or `skip` lets it go on.
"""

from __future__ import annotations

import zlib

from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.events.record import Recorded

RETRY_S = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Waits before the second, third ... try; after the last one the job is parked."""

SPREAD = 0.1
"""By how much of itself a wait may be longer, so that jobs which failed together return apart."""

REASON_LIMIT = 500
"""Characters kept of what a subscriber said when it failed."""

FAILED, REFUSED, UNREADABLE, GAP = "failed", "refused", "unreadable", "gap"
"""Why a job is held: the subscriber raised, or gave it up; nobody can read the event; events before
it are missing."""


class Held(Struct, frozen=True, kw_only=True):
    """Why a job's next event is not delivered yet, and which event that is."""

    seq: int
    entry_id: str
    at_ms: int
    """Time of that event, Unix ms."""
    why: str
    cause: str = FAILED
    failures: int = 0
    next_try_ms: int | None = None
    """Unix ms of the server; None: parked."""

    @property
    def is_parked(self) -> bool:
        return self.next_try_ms is None


def hold(
    record: Recorded,
    why: str,
    *,
    now_ms: int,
    waits_s: tuple[float, ...],
    before: Held | None = None,
    after_s: float | None = None,
) -> Held:
    """Return the job held at an event that failed now, tried again later or parked.

    `after_s` is when the subscriber wants to be tried again at the earliest.
    """
    failures = before.failures if before is not None and before.seq == record.seq else 0
    held = _at(record, why, FAILED, failures + 1)
    if failures >= len(waits_s):
        return held
    wait_s = max(waits_s[failures], after_s or 0.0)
    spread = 1 + SPREAD * (zlib.crc32(record.job_id.encode()) % 1000) / 1000
    return replace(held, next_try_ms=now_ms + int(wait_s * spread * 1000))


def park(record: Recorded, why: str, cause: str) -> Held:
    """Return the job parked at an event that no further try will deliver."""
    return _at(record, why, cause, 0)


def _at(record: Recorded, why: str, cause: str, failures: int) -> Held:
    return Held(
        seq=record.seq,
        entry_id=record.entry_id,
        at_ms=record.time_ms,
        why=why[:REASON_LIMIT],
        cause=cause,
        failures=failures,
    )


def try_now(held: Held) -> Held:
    """Return it due at once, with all its tries before it again."""
    return replace(held, failures=0, next_try_ms=0)


def skip_event(held: Held) -> Held:
    """Return the job going on after the event that it is held at."""
    return replace(held, seq=held.seq + 1, failures=0, next_try_ms=0)
