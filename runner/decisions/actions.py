"""What `decide` may answer, and what it is told besides the log.

Rule: pure. Times are milliseconds of the server's clock; what elapses is measured by the runner's
own clock, and handed in.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from everfold.streams.events.event import Failure, Lost, Terminal
from everfold.streams.events.reasons import StopReason


class Done(Struct, frozen=True):
    """The job has ended; there is nothing left to do."""


class AskTruth(Struct, frozen=True):
    """An attempt may be alive: ask its backend before anything else."""


class StartAttempt(Struct, frozen=True):
    """Submit the next attempt to a backend with room."""

    attempt: int


class Adopt(Struct, frozen=True):
    """The unconfirmed submit did arrive: record that it was accepted."""


class WatchAttempt(Struct, frozen=True):
    """The attempt lives at the backend: watch it."""

    running: bool


class Stop(Struct, frozen=True):
    """End the attempt at the backend, then decide again by its truth."""

    why: StopReason | Literal["cancel"]


class Wait(Struct, frozen=True):
    """Nothing can be done now: ask again after this time."""

    seconds: float
    why: str


class RecordLost(Struct, frozen=True):
    """Record that the attempt is gone, then decide again."""

    lost: Lost


class HandOver(Struct, frozen=True):
    """Release the job to a runner that reaches its backend; this one does not."""

    why: str


class Postpone(Struct, frozen=True):
    """Release the job and let it wait this long before it is looked at again; costs no retry."""

    after_s: float
    why: str = ""


class Leave(Struct, frozen=True):
    """Release the job to others: this runner lacks what it takes."""

    why: str


class Retry(Struct, frozen=True):
    """Release the job and let it wait for its next attempt, which is one of its retries."""

    failure: Failure
    after_s: float


class Finish(Struct, frozen=True):
    """Append this terminal event."""

    event: Terminal


Action = (
    Done
    | AskTruth
    | StartAttempt
    | Adopt
    | WatchAttempt
    | Stop
    | Wait
    | RecordLost
    | HandOver
    | Leave
    | Postpone
    | Retry
    | Finish
)


class DecisionInputs(Struct, frozen=True, kw_only=True):
    """What the runner knows besides the log and the backend's truth."""

    now_ms: int
    lease_ttl_s: float
    submit_grace_s: float
    lease_trusted: bool = True
    """False: nothing may be sent until the lease was renewed."""

    backend_healthy: bool = True
    """False: it answers and executes nothing; what waits there will not run."""
    backend_retired: bool = False
    """An operator took the backend out of service."""
    away_s: float = 0.0
    """How long no runner has reached the backend, 0 while one does."""
    reachable_elsewhere: bool = False
    """Another living runner reaches the backend."""
    refused_everywhere: bool = False
    """Every backend in service has refused the job's graph."""
    seen_alive: bool = False
    """This runner has seen an attempt of the job alive at its backend."""
    given_up: int = 0
    """Number of the attempt that an operator gave up, 0 for none."""

    silent_for_s: float = 0.0
    """How long the running attempt has shown no progress at all."""
    socket_heard: bool = True
    """Since the silence began the socket was opened anew, and something came over it."""
    saw_success: bool = False
    """The socket told the attempt's success and every output of its graph."""
    turned_away: bool = False
    """The server turned the last POST away: whether it arrived, the truth tells."""
    last_send_ms: int = 0
    """When this runner's own POST came to an end, 0 when it made none."""
    first_absent_ms: int = 0
    """When this runner first learned that its backend has not the attempt, since the backend was
    last silent; 0 for never."""
    asked_at_ms: int = 0
    """When the truth was asked for, 0 for just now: an answer says nothing about later."""

    stepped_at_ms: int = 0
    """The latest server time that may be from before its clock was set, 0 if it never was: a
    difference to a time up to that one says nothing."""
    held_s: float = 0.0
    """How long this runner has held the job."""

    def since_s(self, at_ms: int) -> float:
        """Return the seconds since a past server time; after a step of the clock, what of them is
        certain."""
        passed_s = max(0.0, (self.now_ms - at_ms) / 1000)
        return min(passed_s, self.held_s) if at_ms <= self.stepped_at_ms else passed_s
