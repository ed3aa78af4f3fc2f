"""A job as the Comfy API v2 shows it.

Rule: a job, where it stands and the time make one answer. A status is Everfold's own word,
which is the contract's.
"""

from __future__ import annotations

from urllib.parse import quote

from msgspec import Struct

from everfold.projector.job.index_names import text_of
from everfold.projector.job.job import Job
from everfold.web.v2.outputs import outputs_of
from everfold.web.v2.shapes import JobAnswer, JobError, JobItem, JobUrls, Progress, moment

REASONS = {
    "queue_deadline": "it did not start within the time that its policy gives it",
    "stale": "its runner died so long ago that its policy does not begin it again",
    "unreadable": "nobody could read its events",
}
"""Why a job expired, in words."""


class Place(Struct, frozen=True, kw_only=True):
    """What an answer needs besides the job."""

    base: str
    """Address of the API, without a slash at its end."""
    kept_ms: int
    """How long a job is kept after its end."""
    now_ms: int


def job_answer(job: Job, position: int | None, place: Place) -> JobAnswer:
    """Return a job; `position` is how many jobs stand before one that waits."""
    kept_from_ms = job.ended_at_ms or max(job.updated_at_ms, place.now_ms)
    expires_at = moment(kept_from_ms + place.kept_ms)
    url = f"{place.base}/jobs/{quote(job.job_id, safe='')}"
    return JobAnswer(
        id=job.job_id,
        status=job.status,
        created_at=moment(job.submitted_at_ms),
        started_at=moment(job.started_at_ms) if job.started_at_ms else None,
        completed_at=moment(job.ended_at_ms) if job.ended_at_ms else None,
        expires_at=expires_at,
        queue_position=shown_position(job, position),
        progress=progress_of(job),
        outputs=outputs_of(job, place.base, expires_at),
        error=_error_of(job),
        metrics=_metrics_of(job),
        metadata=labels_of(job),
        urls=JobUrls(self=url, events=f"{url}/events", cancel=f"{url}/cancel", logs=f"{url}/logs"),
    )


def job_item(job: Job) -> JobItem:
    """Return a job as a list shows it."""
    return JobItem(
        id=job.job_id,
        status=job.status,
        create_time=moment(job.submitted_at_ms),
        update_time=moment(job.updated_at_ms),
        metadata=labels_of(job),
    )


def shown_position(job: Job, position: int | None) -> int | None:
    """Return the place of a job in its queue: 1 for the one that is taken next."""
    return position + 1 if position is not None and job.status == "queued" else None


def progress_of(job: Job) -> Progress | None:
    """Return how far a job is, None before anything is known of that."""
    if not (job.started_at_ms or job.progress):
        return None
    steps = f" {job.step}/{job.steps}" if job.steps else ""
    return Progress(
        value=job.progress,
        nodes_done=job.nodes_done,
        nodes_total=job.nodes_total,
        current_node=job.node or None,
        current_node_class=job.node_class or None,
        step=job.step if job.steps else None,
        steps=job.steps or None,
        message=f"{job.node_class}{steps}" if job.node_class else None,
    )


def labels_of(job: Job) -> dict[str, str]:
    """Return the metadata as texts: what is none is written as JSON, as filters compare it."""
    return {name: text_of(value) for name, value in job.metadata.items()}


def _error_of(job: Job) -> JobError | None:
    if job.status == "expired":
        return JobError(
            code=job.reason or "expired", message=REASONS.get(job.reason, "it came too late")
        )
    if job.status != "failed":
        return None
    if job.error is None:
        return JobError(code=job.reason or "failed", message="it failed")
    return JobError(
        code=job.error.code,
        message=job.error.message,
        node_id=job.error.node,
        class_type=job.error.node_class,
        traceback=job.error.traceback or None,
    )


def _metrics_of(job: Job) -> dict[str, int | None]:
    has_run = job.started_at_ms > 0 and job.ended_at_ms > 0
    return {
        "wait_ms": job.started_at_ms - job.submitted_at_ms if job.started_at_ms else None,
        "run_ms": job.ended_at_ms - job.started_at_ms if has_run else None,
        "attempts": job.attempt,
        "recoveries": job.recovered,
    }
