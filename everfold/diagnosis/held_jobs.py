"""What `everfold doctor` says of backends that keep jobs waiting: silent, not in order, retired.

Rule: it asks no backend; it reads what the runners saw last, and which open jobs have an attempt
there.
"""

from __future__ import annotations

from msgspec import Struct

from everfold.durations import span_text as span
from everfold.projector.job.job import OPEN_STATUSES, Job
from everfold.projector.reading.queries import list_jobs
from everfold.streams.appending.log import Log
from everfold.streams.leases.backends import BackendEntry, Mark, backend_entries, retired_backends
from everfold.streams.leases.registry import silence_s
from everfold.streams.redis.server import server_time_ms

SILENT_AFTER_S = 10.0
"""A backend that no runner has reached for so long is called silent."""

NAMED_LIMIT = 5
"""Jobs that are named; of more, the number is said."""


class Keeping(Struct, frozen=True):
    """A backend that takes no jobs, and the open jobs that it holds."""

    entry: BackendEntry
    why: str
    job_ids: tuple[str, ...]

    @property
    def found(self) -> str:
        """Return what is found, as a sentence."""
        named = ", ".join(self.job_ids[:NAMED_LIMIT])
        more = len(self.job_ids) - NAMED_LIMIT
        jobs = f"; it holds {named}" if self.job_ids else "; it holds no job"
        return self.why + jobs + (f" and {more} more" if more > 0 else "")


async def keeping_backends(log: Log) -> list[Keeping]:
    """Return the backends that are out of order, retired, or silent while they hold jobs.

    Raises a leaf of Unavailable.
    """
    entries, retired = await backend_entries(log), await retired_backends(log)
    now_ms = await server_time_ms(log.redis)
    jobs = (await list_jobs(log, statuses=OPEN_STATUSES, limit=1000)).jobs
    found: list[Keeping] = []
    for entry in entries:
        why, is_silent = _why(entry, retired, now_ms)
        held = tuple(job.job_id for job in jobs if job.may_be_alive and _has(entry, job))
        if why and (held or not is_silent):
            found.append(Keeping(entry, why, held))
    return found


def _has(entry: BackendEntry, job: Job) -> bool:
    return entry.is_of(job.backend, job.server, entry.host)


def _why(entry: BackendEntry, retired: dict[str, Mark], now_ms: int) -> tuple[str, bool]:
    """Return why it takes no jobs, empty while it does, and whether that is its silence alone."""
    mark = retired.get(entry.name) or retired.get(entry.server or entry.name)
    unseen_s = silence_s(entry.seen_ms, now_ms)
    is_silent = unseen_s > SILENT_AFTER_S
    words = [f"{'drained' if mark.is_drain else 'retired'} by {mark.actor}"] if mark else []
    if is_silent:
        words.append(f"no runner has reached it for {span(unseen_s)}")
    if entry.why and (entry.is_reached or not entry.is_configured) and not mark:
        words.append(entry.why)
    return ", ".join(words), is_silent and not mark
