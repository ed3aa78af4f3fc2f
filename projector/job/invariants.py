"""Invariants of a job's history, checked event by event.

Rule: pure. A violation is a value that names the job, the entry, and what was expected and found.
The numbers are those of the invariants in docs/ARCHITECTURE.md.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.events import event as events
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import NO_ENTRY, Recorded

UNKNOWN = -1
"""Attempt number after an unreadable or trimmed event, which may have begun an attempt."""

_OF_ATTEMPT = (
    events.Queued
    | events.Started
    | events.Progressed
    | events.OutputSaved
    | events.Stopping
    | events.Lost
    | events.Retried
    | events.Succeeded
)

_OF_ANYBODY = events.CancelRequested | events.Rewound


class Difference(Struct, frozen=True):
    """A violated invariant."""

    invariant: int
    """1 gapless, 2 one end, 3 epochs, 4 projection, 5 dispatch, 6 attempts, 8 bounds,
    9 authors."""
    job_id: str
    where: str
    expected: str
    found: str
    partition: int = 0
    """Partition of the job; whoever knows the namespace fills it in."""

    def __str__(self) -> str:
        return (
            f"invariant {self.invariant}: job {self.job_id}, partition {self.partition}, "
            f"{self.where}: expected {self.expected}, found {self.found}"
        )


class Trace(Struct, frozen=True, kw_only=True):
    """What must be known about a job to check its next event."""

    job_id: str
    seq: int = 0
    epoch: int = 0
    entry_id: str = NO_ENTRY
    status: str = ""
    """The job's terminal status, empty while it is open."""
    attempt: int = 0
    """The newest attempt; 0 before the first, and for a runner that records no `submitting`."""
    is_attempt_open: bool = False
    is_leased: bool = False
    runner: str = ""
    """The runner with the lease, empty where the claim does not show that it is the author."""


def trace_before(record: Recorded) -> Trace:
    """Return the trace right before the first event of a history whose beginning was trimmed."""
    return Trace(
        job_id=record.job_id,
        seq=record.seq - 1,
        epoch=record.epoch - isinstance(record.event, events.Claimed | events.Recovered),
        entry_id=record.previous,
        attempt=UNKNOWN,
    )


def check(trace: Trace, record: Recorded) -> tuple[Trace, list[Difference]]:
    """Return the trace after one more event, and the invariants that this event violates."""
    if _is_next_progress(trace, record):
        return replace(trace, seq=record.seq, entry_id=record.entry_id), []
    event = record.event
    wrong = [*_order(trace, record), *_end(trace, record), *_epoch(trace, record)]
    wrong += _author(trace, record)
    after = replace(trace, seq=record.seq, epoch=record.epoch, entry_id=record.entry_id)
    if isinstance(event, Unreadable):
        after = replace(after, attempt=UNKNOWN, is_attempt_open=False)
    else:
        wrong += _attempt(trace, event)
        after = _after(after, event)
    where = f"entry {record.entry_id}"
    return after, [
        Difference(number, record.job_id, where, expected, found)
        for number, expected, found in wrong
    ]


def _is_next_progress(trace: Trace, record: Recorded) -> bool:
    """Say whether this is progress as it must be. Most events are, and it changes nothing else."""
    event = record.event
    return (
        isinstance(event, events.Progressed)
        and record.seq == trace.seq + 1
        and record.previous == trace.entry_id
        and record.epoch == trace.epoch > 0
        and trace.is_leased
        and not trace.status
        and trace.is_attempt_open
        and event.attempt == trace.attempt > 0
        and (not trace.runner or event.actor in ("", trace.runner))
    )


_Wrong = tuple[int, str, str]
"""Number of the invariant, what was expected, what was found."""


def _order(trace: Trace, record: Recorded) -> list[_Wrong]:
    wrong: list[_Wrong] = []
    if record.seq != trace.seq + 1:
        wrong.append((1, f"event {trace.seq + 1}", f"event {record.seq}"))
    if record.previous != trace.entry_id:
        wrong.append((1, f"previous entry {trace.entry_id}", record.previous))
    is_known = not isinstance(record.event, Unreadable)
    if is_known and isinstance(record.event, events.Submitted) != (record.seq == 1):
        wrong.append((1, "submitted first and only then", f"{_name(record)} as {record.seq}"))
    return wrong


def _end(trace: Trace, record: Recorded) -> list[_Wrong]:
    if not trace.status:
        return []
    return [(2, f"nothing after {trace.status}", f"event {record.seq} {_name(record)}")]


def _epoch(trace: Trace, record: Recorded) -> list[_Wrong]:
    """Only a claim begins a new epoch, and no event has an older one."""
    claims = isinstance(record.event, events.Claimed | events.Recovered)
    is_known = not isinstance(record.event, Unreadable)
    if record.epoch == trace.epoch + claims or (not is_known and record.epoch > trace.epoch):
        return []
    found = f"epoch {record.epoch} of {_name(record)}"
    return [(3, f"epoch {trace.epoch + claims}", found)]


def _author(trace: Trace, record: Recorded) -> list[_Wrong]:
    """Into the log of a leased job others may write two types of events and nothing else.

    The script stores the head's epoch in every entry, so that what got past it shows by its author.
    """
    event = record.event
    if not trace.is_leased or trace.status:
        return []
    if isinstance(event, Unreadable | events.Recovered | _OF_ANYBODY):
        return []
    if record.epoch == 0:
        return [(9, f"epoch {trace.epoch}", f"{_name(record)} without an epoch")]
    if trace.runner and event.actor not in ("", trace.runner):
        return [(9, f"an event of {trace.runner}", f"{_name(record)} of {event.actor}")]
    return []


def _attempt(trace: Trace, event: events.Event) -> list[_Wrong]:
    if isinstance(event, events.Submitting):
        if trace.is_attempt_open:
            expected = f"attempt {trace.attempt} to be over first"
            return [(6, expected, f"the intent of attempt {event.attempt}")]
        if trace.attempt != UNKNOWN and event.attempt != trace.attempt + 1:
            return [(6, f"attempt {trace.attempt + 1}", f"the intent of attempt {event.attempt}")]
    if isinstance(event, _OF_ATTEMPT):
        return _of_attempt(trace, event.attempt)
    return []


def _of_attempt(trace: Trace, attempt: int) -> list[_Wrong]:
    """Only the newest attempt may have events, and only while it is open."""
    if trace.attempt <= 0 or (trace.is_attempt_open and attempt == trace.attempt):
        return []
    state = "alive" if trace.is_attempt_open else "over"
    return [(6, f"nothing but of attempt {trace.attempt}, {state}", f"one of attempt {attempt}")]


def _after(trace: Trace, event: events.Event) -> Trace:
    if isinstance(event, events.Claimed | events.Recovered):
        runner = event.owner if event.actor == event.owner else ""
        return replace(trace, is_leased=True, runner=runner)
    if isinstance(event, events.Released | events.Retried):
        trace = replace(trace, is_leased=False, runner="")
    if isinstance(event, events.Submitting):
        return replace(trace, attempt=event.attempt, is_attempt_open=True)
    if isinstance(event, events.Lost | events.Retried):
        return replace(trace, is_attempt_open=False)
    if isinstance(event, events.Rewound):  # what was lost may have begun and ended attempts
        return replace(trace, attempt=UNKNOWN, is_attempt_open=False)
    return replace(trace, status=trace.status or events.closing_status(event))


def _name(record: Recorded) -> str:
    event = record.event
    if isinstance(event, Unreadable):
        return "an unreadable event"
    return str(event.__struct_config__.tag).removeprefix("job.")
