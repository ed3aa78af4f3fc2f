"""What can still be done for a job whose events this program cannot all read: end it in time.

Rule: nothing is sent for such a job. Where it ends, every attempt that a readable event names and
none tells over is abandoned: it is stopped when its backend is seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from everfold.projector.folding.parking import with_skips
from everfold.projector.folding.stored_jobs import read_stored_job
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.runner.decisions import endings
from everfold.runner.execution.attempt_place import AttemptPlace, place_of
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import JobClosed, JobLeased, JobUnknown, WrongExpectedSequence
from everfold.streams.events import event as events
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.record import Recorded
from everfold.streams.leases.backends import Abandoned, note_abandoned
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.server import server_time_ms

logger = get_logger("everfold.runner")

UNREADABLE_WAIT_S = 86_400.0
"""How long a job waits for a runner that can read it, where its policy has no
`recovery_max_age_s`."""

_STARTED = ("job.started", "job.progressed")
_NO_PROGRESS = (events.Claimed, events.Recovered, events.Released, events.CancelRequested)


class Remains(Struct, frozen=True, kw_only=True):
    """What can be known of a job without the events that cannot be read."""

    job: Job
    """Its state before the first of them."""
    places: tuple[AttemptPlace, ...]
    """Attempts that may be alive."""
    hides_attempt: bool
    """One of them is an attempt whose place cannot be read."""
    crashes_in_a_row: int
    cancel: str | None
    """Why it is to be canceled, None when nobody wants that."""
    has_started: bool
    last_seq: int
    """Its last event."""

    @property
    def wait_s(self) -> float:
        """How long the job waits for a runner that can read it, in seconds."""
        limit_s = self.job.policy.recovery_max_age_s
        return UNREADABLE_WAIT_S if limit_s is None else limit_s

    def abandoned(self, job_id: str, since_ms: int) -> list[Abandoned]:
        """Return each attempt that may be alive as it is remembered, when the job ends."""
        return [place.abandoned(job_id, since_ms) for place in self.places]


def remains_of(job: Job, records: Sequence[Recorded]) -> Remains:
    """Return what `records`, all that the log has of the job, say beyond `job`."""
    places = {job.attempt: place_of(job)} if job.may_be_alive and job.prompt_id else {}
    hides, crashes, has_started = False, job.crashes_in_a_row, job.started_at_ms > 0
    cancel = job.reason if job.is_canceling else None
    for record in records:
        event = record.event
        if record.seq <= job.seq:
            continue
        if isinstance(event, Unreadable) and event.skipped:
            continue
        if isinstance(event, Unreadable):
            has_started = has_started or event.kind in _STARTED
            hidden = _read_place(event)
            hides = hides or (event.kind == "job.submitting" and hidden is None)
            places |= {hidden.attempt: hidden} if hidden else {}
        elif isinstance(event, events.Submitting):
            places[event.attempt] = place_of(event)
        elif isinstance(event, events.Lost | events.Retried):
            places.pop(event.attempt, None)
        elif isinstance(event, events.CancelRequested):
            cancel = event.reason
        has_started = has_started or isinstance(event, events.Started | events.Progressed)
        is_crash = isinstance(event, events.Recovered) or (
            isinstance(event, events.Released) and event.reason == "broken"
        )
        moves = not isinstance(event, (*_NO_PROGRESS, Unreadable))
        crashes = 0 if moves else crashes + is_crash
    return Remains(
        job=job,
        places=tuple(places.values()),
        hides_attempt=hides,
        crashes_in_a_row=crashes,
        cancel=cancel,
        has_started=has_started,
        last_seq=records[-1].seq if records else job.seq,
    )


_decode_place = decoder(AttemptPlace)


def _read_place(event: Unreadable) -> AttemptPlace | None:
    """Return the place that a newer `submitting` names in the fields of today."""
    if event.kind != "job.submitting":
        return None
    try:
        return _decode_place(event.payload)
    except NotJson:
        return None


async def read_remains(log: Log, job_id: str) -> Remains:
    """Read what can be read of a job. Raises JobUnknown, or a leaf of Unavailable."""
    partition = log.keys.partition_of(job_id)
    stored = await with_retry(lambda: read_stored_job(log, job_id), log.retry_for_s)
    found = await with_skips(log, partition, await job_events(log, job_id))
    return remains_of(fold(found, stored or Job(job_id=job_id)), found)


async def end_blocked(log: Log, job_id: str, reason: str = "unreadable") -> bool:
    """End a job that a runner could not read and nobody holds: canceled if that is wanted, else
    expired.

    False when a runner has it, it has ended, or it moved meanwhile. Raises a leaf of Unavailable.
    """
    try:
        remains = await read_remains(log, job_id)
        abandoned = await abandon(log, job_id, remains)
        end = ending_of(remains, reason, abandoned=abandoned)
        # Whoever has moved the job since then may have begun another attempt.
        await log.append(job_id, end, epoch=UNLEASED, expected=remains.last_seq)
    except (JobLeased, JobClosed, JobUnknown, WrongExpectedSequence):
        return False
    logger.warning("job_unreadable_ended job=%s as=%s", job_id, type(end).__name__.lower())
    return True


def may_be_alive(remains: Remains) -> bool:
    """Say whether an attempt may be alive, be it known where or not."""
    return bool(remains.places) or remains.hides_attempt


def ending_of(
    remains: Remains, reason: str, *, abandoned: bool
) -> events.Canceled | events.Expired:
    if remains.cancel is None:
        return events.Expired(reason=reason, abandoned=abandoned)
    attempt = max((place.attempt for place in remains.places), default=remains.job.attempt)
    return events.Canceled(reason=remains.cancel, attempt=attempt, abandoned=abandoned)


def poisoned(remains: Remains) -> events.Failed | None:
    """Return how a job ends that took down too many runners, None for any other."""
    job = msgspec.structs.replace(remains.job, crashes_in_a_row=remains.crashes_in_a_row)
    if job.crashes_in_a_row < job.policy.crash_limit:
        return None
    return events.Failed(
        attempt=job.attempt,
        failure=endings.poisoned(job),
        abandoned=may_be_alive(remains),
    )


async def abandon(log: Log, job_id: str, remains: Remains) -> bool:
    """Note every attempt that may be alive, before the event that ends the job; say if one may.

    An attempt whose place cannot be read is named in the runner's own log: nobody can stop it.
    """
    since_ms = await server_time_ms(log.redis) if remains.places else 0
    for prompt in remains.abandoned(job_id, since_ms):
        await note_abandoned(log, prompt)
    if remains.hides_attempt:
        logger.error("attempt_unreadable job=%s why=%r", job_id, "nobody knows where it runs")
    return may_be_alive(remains)
