"""Reads jobs' histories from archive and log, as tracks.

Rule: memory holds one track per job and no events, however long the log is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.events.record import Recorded
from everfold.streams.leases.backends import backend_titles
from everfold.streams.retention.history import all_history, job_history
from everfold.timeline.tracks import Track, TrackBuilder, clipped


class Span(Struct, frozen=True):
    """A time from one moment to another, both included; None where it is not bounded."""

    since_ms: int | None = None
    until_ms: int | None = None

    def has(self, moment_ms: int) -> bool:
        """Say whether a moment lies in the span, its ends included."""
        return not self.is_before(moment_ms) and not self.is_after(moment_ms)

    def is_before(self, moment_ms: int) -> bool:
        """Say whether a moment lies before the span."""
        return self.since_ms is not None and moment_ms < self.since_ms

    def is_after(self, moment_ms: int) -> bool:
        """Say whether a moment lies after the span."""
        return self.until_ms is not None and moment_ms > self.until_ms


async def read_tracks(
    log: Log,
    job_ids: Sequence[str],
    span: Span,
    user: str | None,
    now_ms: int,
    archive: Archive | None = None,
) -> list[Track]:
    """Return the tracks of the given jobs, or of all jobs, that have an event within the span.

    Each track is as it was at the end of the span, and begins with the span. Of an id that was used
    again it is that of the newest job. `now_ms` is the server's time, in milliseconds. Raises
    JobUnknown, Unavailable or ArchiveDamaged.
    """
    builders: dict[str, TrackBuilder] = {}
    seen: set[str] = set()
    async for record in _records(log, job_ids, archive):
        # An entry without a job id is not Everfold's.
        if not record.job_id or span.is_after(record.time_ms):
            continue
        builder = builders.setdefault(record.job_id, TrackBuilder())
        if record.seq == 1 and builder.job.is_terminal:  # Its id was used again after a trim.
            builder = builders[record.job_id] = TrackBuilder()
        builder.add(record)
        if span.has(record.time_ms):
            seen.add(record.job_id)
    end_ms = now_ms if span.until_ms is None else min(now_ms, span.until_ms)
    tracks = (
        builder.track(job_id, end_ms)
        for job_id, builder in builders.items()
        if job_id in seen and user in (None, builder.job.user)
    )
    return [track if span.since_ms is None else clipped(track, span.since_ms) for track in tracks]


async def titled(log: Log, tracks: Sequence[Track]) -> list[Track]:
    """Return the tracks with what people call each backend, in place of its address.

    One without a name, or of which nothing has been heard for days, keeps its address.
    """
    titles = await backend_titles(log)
    return [
        replace(
            track,
            segments=tuple(
                replace(segment, backend=titles.get(segment.backend, segment.backend))
                for segment in track.segments
            ),
        )
        for track in tracks
    ]


async def _records(
    log: Log, job_ids: Sequence[str], archive: Archive | None
) -> AsyncIterator[Recorded]:
    if not job_ids:
        async for stored in all_history(log, archive):
            for record in await log.opened_records([stored]):
                yield record
    for job_id in dict.fromkeys(job_ids):
        for record in await log.opened_records(await job_history(log, job_id, archive)):
            yield record
