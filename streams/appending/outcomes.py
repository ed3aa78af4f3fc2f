"""What a script did: each named outcome of a `Returns` line as a value."""

from __future__ import annotations

from msgspec import Struct

from everfold.streams.errors import (
    EverfoldError,
    Fenced,
    JobClosed,
    JobLeased,
    JobUnknown,
    WrongExpectedSequence,
)
from everfold.streams.events.record import Recorded


class Appended(Struct, frozen=True):
    """The event is in the log; `duplicate` when it already was, by an earlier try."""

    seq: int
    entry_id: str
    duplicate: bool = False


class Submission(Struct, frozen=True):
    job_id: str
    entry_id: str
    created: bool
    """False when an earlier submit with the same idempotency key had made the job."""


class Lease(Struct, frozen=True):
    """The right to work on a job: held by one runner, told apart by its epoch."""

    job_id: str
    runner: str
    epoch: int
    seq: int
    """Sequence number of the `claimed` or `recovered` event that began it."""
    queue: str
    priority: str
    dispatch_id: str
    """Entry id in the dispatch stream."""
    history: tuple[Recorded, ...] = ()
    """The job's events up to `seq`, where the claim gave them: those of a job never begun yet."""


class Renewed(Struct, frozen=True):
    """The lease lives on; `canceling` when somebody asked for the job to be canceled."""

    canceling: bool


class LeaseOver(Struct, frozen=True):
    """The lease is over: another runner has the job, or it has ended."""

    current_epoch: int


def append_outcome(
    reply: list[bytes | int], job_id: str, epoch: int, expected: int
) -> Appended | EverfoldError:
    """Return the outcome of an append; a refusal is the error to raise, as a value."""
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
    raise AssertionError(f"a script returned the unknown outcome {name!r}")


def renew_outcome(reply: list[bytes | int]) -> Renewed | LeaseOver:
    match _text(reply[0]):
        case "renewed":
            return Renewed(canceling=False)
        case "canceling":
            return Renewed(canceling=True)
        case _:
            return LeaseOver(int(reply[1]))


def _text(value: bytes | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
