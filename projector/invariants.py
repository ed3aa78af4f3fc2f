"""What must hold of every job's history, checked event by event.

Rule: pure, and a violation is a value that names the job, the place and both sides. The numbers
are those of the failure table in docs/ARCHITECTURE.md.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from streams.codec import Unreadable
from streams.events import Event, Lost, Retried, Submitting, closing_status
from streams.record import NO_ENTRY, Recorded


class Difference(Struct, frozen=True):
    """Something that is not as it must be."""

    invariant: int
    """1 gapless, 2 one end, 3 epochs, 4 projection, 5 dispatch, 6 attempts."""
    job_id: str
    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return (
            f"invariant {self.invariant}: job {self.job_id}, {self.where}: "
            f"expected {self.expected}, found {self.found}"
        )


class Trace(Struct, frozen=True, kw_only=True):
    """What has to be remembered of a job to check its next event."""

    job_id: str
    seq: int = 0
    epoch: int = 0
    entry_id: str = NO_ENTRY
    status: str = ""
    """The status that the job was closed with, empty while it is open."""
    attempt: int = 0
    is_attempt_open: bool = False


def check(trace: Trace, record: Recorded) -> tuple[Trace, list[Difference]]:
    """Return the trace after one more event, and what is wrong with that event."""
    found = [*_order(trace, record), *_attempts(trace, record)]
    event = record.event
    after = replace(trace, seq=record.seq, epoch=record.epoch, entry_id=record.entry_id)
    if isinstance(event, Unreadable):
        return after, found
    return _after(after, event), found


def _order(trace: Trace, record: Recorded) -> list[Difference]:
    where = f"entry {record.entry_id}"
    found: list[Difference] = []

    def differ(invariant: int, expected: object, actual: object) -> None:
        found.append(Difference(invariant, record.job_id, where, str(expected), str(actual)))

    if record.seq != trace.seq + 1:
        differ(1, f"event {trace.seq + 1}", f"event {record.seq}")
    if record.previous != trace.entry_id:
        differ(1, f"previous entry {trace.entry_id}", record.previous)
    if trace.status:
        differ(2, f"nothing after {trace.status}", f"event {record.seq}")
    if record.epoch < trace.epoch:
        differ(3, f"epoch {trace.epoch} or more", f"epoch {record.epoch}")
    return found


def _attempts(trace: Trace, record: Recorded) -> list[Difference]:
    event = record.event
    if not isinstance(event, Submitting):
        return []
    where = f"entry {record.entry_id}"
    if trace.is_attempt_open:
        expected = f"attempt {trace.attempt} to be over first"
        return [Difference(6, record.job_id, where, expected, f"attempt {event.attempt}")]
    if event.attempt != trace.attempt + 1:
        expected = f"attempt {trace.attempt + 1}"
        return [Difference(6, record.job_id, where, expected, f"attempt {event.attempt}")]
    return []


def _after(trace: Trace, event: Event) -> Trace:
    if isinstance(event, Submitting):
        return replace(trace, attempt=event.attempt, is_attempt_open=True)
    if isinstance(event, Lost | Retried):
        return replace(trace, is_attempt_open=False)
    return replace(trace, status=trace.status or closing_status(event))
