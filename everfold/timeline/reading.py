"""Reads jobs' histories from archive and log, as tracks.

Rule: memory holds one track per job and no events, however long the log is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.events.record import Recorded
from everfold.streams.retention.history import all_history, job_history
from everfold.timeline.moments import Span
from everfold.timeline.tracks import Track, TrackBuilder, clipped


async def read_tracks(
    log: Log,
    job_ids: Sequence[str],
    span: Span,
    user: str | None,
    now_ms: int,
    archive: Archive | None = None,
) -> list[Track]:
    """Return the tracks of the given jobs, or of all jobs, that have an event within the span.

    Each track is as it was at the end of the span, and begins with the span. `now_ms` is the
    server's time, in milliseconds. Raises JobUnknown, Unavailable or ArchiveDamaged.
    """
    builders: dict[str, TrackBuilder] = {}
    seen: set[str] = set()
    async for record in _records(log, job_ids, archive):
        # An entry without a job id is not Everfold's.
        if not record.job_id or span.is_after(record.time_ms):
            continue
        builders.setdefault(record.job_id, TrackBuilder()).add(record)
        if span.has(record.time_ms):
            seen.add(record.job_id)
    end_ms = now_ms if span.until_ms is None else min(now_ms, span.until_ms)
    tracks = (
        builder.track(job_id, end_ms)
        for job_id, builder in builders.items()
        if job_id in seen and user in (None, builder.job.user)
    )
    return [track if span.since_ms is None else clipped(track, span.since_ms) for track in tracks]


async def _records(
    log: Log, job_ids: Sequence[str], archive: Archive | None
) -> AsyncIterator[Recorded]:
    if not job_ids:
        async for record in all_history(log, archive):
            yield record
    for job_id in dict.fromkeys(job_ids):
        for record in await job_history(log, job_id, archive):
            yield record
