"""Held jobs: their next event could not be delivered, while all other jobs go on.

Rule: pure. A held job's later events wait behind that event, so a subscriber sees each job in
order. The event is tried again after growing waits; after the last one the job is parked, until an
operator's `retry` or `skip`.
"""

from __future__ import annotations

import zlib

from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.events.record import Recorded

RETRY_S = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Waits before the second, third ... try, in seconds."""

SPREAD = 0.1
"""A wait is longer by up to this part of itself, so jobs that fail together are tried again at
different times."""

REASON_LIMIT = 500
"""Characters kept of a reason."""

FAILED, REFUSED, UNREADABLE, GAP = "failed", "refused", "unreadable", "gap"
"""Why a job is held: the subscriber raised; it raised GiveUp; the event cannot be read; events
before it are missing."""


class Held(Struct, frozen=True, kw_only=True):
    """Why a job's next event is not delivered yet, and which event that is."""

    seq: int
    """Sequence number of that event; after a skip, of the one after the skipped event."""
    entry_id: str
    at_ms: int
    """Time of that event, Unix ms."""
    why: str
    """A sentence for people."""
    cause: str = FAILED
    """One of FAILED, REFUSED, UNREADABLE and GAP."""
    failures: int = 0
    """Tries that failed, since the last `retry`."""
    next_try_ms: int | None = None
    """Unix ms of the server; None: parked."""

    @property
    def is_parked(self) -> bool:
        """Whether only an operator can let the job go on."""
        return self.next_try_ms is None


def hold(
    record: Recorded,
    why: str,
    *,
    now_ms: int,
    waits_s: tuple[float, ...],
    before: Held | None = None,
    after_s: float | None = None,
    counts: bool = True,
) -> Held:
    """Return the job held at an event that failed now: to be tried again, or parked.

    `waits_s` are the waits between tries; with `after_s` the next wait is at least that long.
    `before` is how the job was held until now; its failures count only for the same event. What
    does not count is tried again after `after_s`.
    """
    failures = before.failures if before is not None and before.seq == record.seq else 0
    if counts and failures >= len(waits_s):
        return _at(record, why, FAILED, failures + 1)
    held = _at(record, why, FAILED, failures + counts)
    wait_s = max(waits_s[failures], after_s or 0.0) if counts else after_s or 0.0
    spread = 1 + SPREAD * (zlib.crc32(record.job_id.encode()) % 1000) / 1000
    return replace(held, next_try_ms=now_ms + int(wait_s * spread * 1000))


def park(record: Recorded, why: str, cause: str) -> Held:
    """Return the job parked at an event, for a `cause` that another try would not change."""
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
    """Return the job due at once, with no failures counted."""
    return replace(held, failures=0, next_try_ms=0)


def skip_event(held: Held) -> Held:
    """Return the job due at once, at the event after the one that it is held at."""
    return replace(held, seq=held.seq + 1, failures=0, next_try_ms=0)
