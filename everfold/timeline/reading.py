"""Lanes of the jobs that somebody asks for, read from archive and log.

Rule: of a job's events nothing is kept but its lane, however long the log is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.events.record import Recorded
from everfold.streams.retention.history import all_history, job_history
from everfold.timeline.lanes import Lane, Tracing, clipped
from everfold.timeline.moments import Span


async def read_lanes(
    log: Log,
    job_ids: Sequence[str],
    span: Span,
    user: str | None,
    now_ms: int,
    archive: Archive | None = None,
) -> list[Lane]:
    """Return the lanes of the given jobs, or of all, that have an event within the span.

    Lanes are as they were at the end of the span, without what was before it. Raises
    JobUnknown or Unavailable.
    """
    tracings: dict[str, Tracing] = {}
    seen: set[str] = set()
    async for record in _records(log, job_ids, archive):
        # An entry that is not Everfold's is no job's.
        if not record.job_id or span.is_after(record.time_ms):
            continue
        tracings.setdefault(record.job_id, Tracing()).add(record)
        if span.has(record.time_ms):
            seen.add(record.job_id)
    end_ms = now_ms if span.until_ms is None else min(now_ms, span.until_ms)
    lanes = (
        tracing.lane(job_id, end_ms)
        for job_id, tracing in tracings.items()
        if job_id in seen and user in (None, tracing.job.user)
    )
    return [lane if span.since_ms is None else clipped(lane, span.since_ms) for lane in lanes]


async def _records(
    log: Log, job_ids: Sequence[str], archive: Archive | None
) -> AsyncIterator[Recorded]:
    if not job_ids:
        async for record in all_history(log, archive):
            yield record
    for job_id in dict.fromkeys(job_ids):
        for record in await job_history(log, job_id, archive):
            yield record
