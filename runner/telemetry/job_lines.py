"""One line of a runner's log for each change of a job that the runner makes.

Rule: a line names job, attempt, backend and runner as fields, and says nothing of what a job holds:
of a sealed one no words of its server either.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from everfold.projector.job.job import Job
from everfold.streams.border.log_writer import JOBS
from everfold.streams.border.logger import get_logger
from everfold.streams.border.sealed_form import is_sealed
from everfold.streams.events.event import (
    Canceled,
    Event,
    Expired,
    Failed,
    Failure,
    Lost,
    Released,
    Retried,
    Started,
    Stopping,
    Succeeded,
    Terminal,
)

logger = get_logger(JOBS)


class JobLines:
    """The lines of one runner's jobs. `name_of` names the backend that has a job's attempt."""

    def __init__(self, runner: str, name_of: Callable[[Job], str]) -> None:
        self._runner, self._name_of = runner, name_of

    def began(self, job: Job, reserved: str, previous_owner: str) -> None:
        """Tell that the runner has the job: `reserved` is the backend that it has a slot on."""
        if not logger.isEnabledFor(logging.INFO):
            return
        attempt = job.attempt if job.may_be_alive else job.attempt + 1
        backend = self._name_of(job) if job.may_be_alive else reserved or "-"
        place = (job.job_id, attempt, backend, self._runner)
        if job.claimed_at_ms and job.recovered_at_ms == job.claimed_at_ms:
            why = "" if job.is_canceling else job.reason
            logger.info(
                "recovered job=%s attempt=%d backend=%s runner=%s former=%s why=%s idle_s=%.1f "
                "recoveries=%d",
                *(*place, previous_owner or "-", why or "-", job.idle_ms / 1000, job.recovered),
            )
            return
        waited_s = (job.claimed_at_ms - job.submitted_at_ms) / 1000
        logger.info(
            "claimed job=%s attempt=%d backend=%s runner=%s queue=%s waited_s=%.1f",
            *(*place, job.queue, waited_s),
        )

    def changed(self, event: Event, job: Job) -> None:
        """Tell of an event that the runner has appended; `job` is its state after that, or before
        it where the event gave the job away."""
        if not logger.isEnabledFor(logging.INFO):
            return
        place = (job.job_id, job.attempt, self._name_of(job), self._runner)
        match event:
            case Started():
                logger.info(
                    "started job=%s attempt=%d backend=%s runner=%s waited_s=%.1f",
                    *(*place, (job.started_at_ms - job.submitted_at_ms) / 1000),
                )
            case Stopping(why=why):
                logger.info("stopping job=%s attempt=%d backend=%s runner=%s why=%s", *place, why)
            case Lost(cause=cause):
                logger.info("lost job=%s attempt=%d backend=%s runner=%s why=%s", *place, cause)
            case Retried(failure=failure):
                why = _why(failure, job)
                logger.info("retried job=%s attempt=%d backend=%s runner=%s why=%r", *place, why)
            case Released(reason=reason, why=details):
                why = f"{reason}: {details}" if details else reason
                logger.info("released job=%s attempt=%d backend=%s runner=%s why=%r", *place, why)
            case Succeeded() | Failed() | Canceled() | Expired():
                self._ended(event, job)
            case _:
                pass  # it is told by what comes of it

    def _ended(self, event: Terminal, job: Job) -> None:
        why = _why(event.failure, job) if isinstance(event, Failed) else ""
        if isinstance(event, Canceled | Expired) and not is_sealed(job.metadata):
            why = event.reason
        run_s = (job.ended_at_ms - job.started_at_ms) / 1000 if job.started_at_ms else 0.0
        logger.info(
            "ended job=%s attempt=%d backend=%s runner=%s status=%s why=%r run_s=%.1f total_s=%.1f",
            *(job.job_id, job.attempt, self._name_of(job), self._runner, job.status, why or "-"),
            *(run_s, (job.ended_at_ms - job.submitted_at_ms) / 1000),
        )


def _why(failure: Failure, job: Job) -> str:
    return failure.code if is_sealed(job.metadata) else f"{failure.code}: {failure.message}"
