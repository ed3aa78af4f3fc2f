"""A job's history as lanes of a chart over time: what it did, who held it, and where it ran.

Rule: pure. The stretches of a lane follow one another without overlap; the last one of an open job
has no end.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from everfold.event_text import EventLine
from everfold.projector.job.job import Job

WAITING, CLAIMED, RUNNING, RECOVERED = "waiting", "claimed", "running", "recovered"


class Stretch(Struct, frozen=True, kw_only=True):
    """A time in which state, attempt, runner and server of a job stay the same."""

    state: str
    """waiting: nobody holds it; claimed: a runner does, and it does not run; running; recovered:
    nothing is known of it, from the last word of a runner that died to the next news."""
    attempt: int
    """Counts from 1, 0 before the first."""
    owner: str
    """The runner that holds it, empty for nobody."""
    backend: str
    """Where its attempt is, empty while there is none."""
    from_ms: int
    until_ms: int | None
    """None while it goes on."""


class Lease(Struct, frozen=True, kw_only=True):
    """One runner's right to work on the job."""

    owner: str
    epoch: int
    """The fencing token: whoever comes with an older one is refused."""
    from_ms: int
    until_ms: int | None
    """When the next one began, or it was given back; None while it is held."""
    taken_from: str
    """The runner that was taken for dead, empty for none."""


def stretches_of(lines: Sequence[EventLine]) -> list[Stretch]:
    """Return what a job did, from the lines of its history in order."""
    found: list[Stretch] = []
    last_ms = lines[0].time_ms if lines else 0
    for line in lines:
        is_recovery = line.mark == "recovery"
        now = _state(line.job, is_recovery=is_recovery)
        at_ms = last_ms if is_recovery else line.time_ms
        last_ms = line.time_ms
        if found and found[-1].until_ms is None:
            if _same(found[-1], line.job, now) and not line.job.is_terminal:
                continue
            found[-1] = replace(found[-1], until_ms=max(at_ms, found[-1].from_ms))
        if not line.job.is_terminal:
            backend = line.job.backend if line.job.may_be_alive else ""
            found.append(
                Stretch(
                    state=now,
                    attempt=line.job.attempt,
                    owner=line.job.owner,
                    backend=backend,
                    from_ms=at_ms,
                    until_ms=None,
                )
            )
    return [one for one in found if one.until_ms is None or one.until_ms > one.from_ms]


def _same(before: Stretch, job: Job, state: str) -> bool:
    backend = job.backend if job.may_be_alive else ""
    now = (state, job.attempt, job.owner, backend)
    return now == (before.state, before.attempt, before.owner, before.backend)


def _state(job: Job, *, is_recovery: bool) -> str:
    if is_recovery:
        return RECOVERED
    if job.attempt_state == "accepted" and job.started_at_ms:
        return RUNNING
    return CLAIMED if job.owner else WAITING


def leases_of(lines: Sequence[EventLine]) -> list[Lease]:
    """Return who held the job and when, from the lines of its history in order."""
    found, owner = list[Lease](), ""
    for line in lines:
        is_new = bool(line.job.owner) and bool(found) and line.epoch != found[-1].epoch
        if line.job.owner == owner and not is_new:
            continue
        if found and found[-1].until_ms is None:
            found[-1] = replace(found[-1], until_ms=line.time_ms)
        if line.job.owner:
            taken_from = owner if line.mark == "recovery" else ""
            found.append(
                Lease(
                    owner=line.job.owner,
                    epoch=line.epoch,
                    from_ms=line.time_ms,
                    until_ms=None,
                    taken_from=taken_from,
                )
            )
        owner = line.job.owner
    return found
