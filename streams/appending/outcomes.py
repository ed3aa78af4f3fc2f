"""What a script did: each named outcome of its `Returns` lines as a value.

Rule: pure. An outcome that refuses becomes the error that its caller raises.
"""

from __future__ import annotations

from msgspec import Struct

from everfold.streams.errors import (
    BrokenHead,
    EverfoldError,
    Fenced,
    JobClosed,
    JobLeased,
    JobUnknown,
    ServerRefusesAccess,
    WrongExpectedSequence,
)
from everfold.streams.events.record import Recorded


class Appended(Struct, frozen=True):
    """The event is in the log."""

    seq: int
    """Its sequence number within the job."""
    entry_id: str
    duplicate: bool = False
    """True when an earlier try with the same event id had appended it."""


class Looked(Struct, frozen=True):
    """No event of the job up to `seq` has the id that was looked for."""

    seq: int


class OldId(Exception):
    """Internal: the head may have forgotten the event's id; `seq` is the job's last event."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"the id may be that of an event up to {seq}")
        self.seq = seq


class Submission(Struct, frozen=True):
    """The job is in the log, by this submit or by an earlier one."""

    job_id: str
    entry_id: str
    """Of its `submitted` event."""
    created: bool
    """False when an earlier submit with the same idempotency key had made the job."""


class Lease(Struct, frozen=True):
    """The right of one runner to work on a job until it is fenced or not renewed in time."""

    job_id: str
    runner: str
    epoch: int
    """The fencing token: each lease of a job has a higher one than all before it."""
    seq: int
    """Sequence number of the `claimed` or `recovered` event that began it."""
    queue: str
    priority: str
    dispatch_id: str
    """Entry id in the dispatch stream."""
    history: tuple[Recorded, ...] = ()
    """The job's events up to `seq` where the claim returned them (a job's first claim), else ()."""
    previous_owner: str = ""
    """The runner from which it was taken because it was taken for dead."""
    stored: bytes | None = None
    """What the job sends, as the server keeps it, where the claim returned that: it is short."""


class Renewed(Struct, frozen=True):
    """The lease goes on."""

    canceling: bool
    """True when somebody asked for the job to be canceled."""


class LeaseOver(Struct, frozen=True):
    """The lease is over: another runner has the job, or it has ended."""

    current_epoch: int
    """Of the job now; -1 when the job is unknown."""


def append_outcome(
    reply: list[bytes | int], job_id: str, epoch: int, expected: int
) -> Appended | OldId | EverfoldError:
    """Return the outcome of an append or a release; a refusal is the error to raise, as a value."""
    if reply[0] == b"appended":  # nearly always
        return Appended(int(reply[1]), _text(reply[2]))
    name, values = _text(reply[0]), reply[1:]
    match name:
        case "released":
            return Appended(int(values[0]), _text(values[1]))
        case "duplicate":
            return Appended(int(values[0]), _text(values[1]), duplicate=True)
        case "fenced":
            return Fenced(job_id, epoch, int(values[0]))
        case "closed":
            return JobClosed(job_id, _text(values[0]))
        case "conflict":
            return WrongExpectedSequence(job_id, expected, int(values[0]))
        case "leased":
            return JobLeased(job_id, _text(values[0]))
        case "unknown":
            return JobUnknown(job_id)
        case "old":
            return OldId(int(values[0]))
        case "broken":
            why = _text(values[0])
            is_right = why.startswith("NOPERM")
            return ServerRefusesAccess(why) if is_right else BrokenHead(job_id, why)
    raise AssertionError(f"a script returned the unknown outcome {name!r}")


def renew_outcome(reply: list[bytes | int]) -> Renewed | LeaseOver:
    """Return the outcome of one renewal."""
    match _text(reply[0]):
        case "renewed":
            return Renewed(canceling=False)
        case "canceling":
            return Renewed(canceling=True)
        case _:
            return LeaseOver(int(reply[1]))


def _text(value: bytes | int) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
