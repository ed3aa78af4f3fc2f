"""What is known of writes that were lost with a server, in sentences.

Rule: what a living process knew is named job by job. What died together with its writer is bounded
by how far the earlier server had come, where both servers tell.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from everfold.diagnosis.finding import Finding
from everfold.moments import moment_text
from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.lost_writes import LostWrites, lost_writes
from everfold.streams.border.quantity import quantity
from everfold.streams.redis.server import server_info
from everfold.streams.redis.server_watch import UNKNOWN, ServerRun, server_changes

SHOWN = 20
"""Jobs that are named one by one; all of them are in the hash that is named then."""

NO_INFO = (
    "the server refuses INFO: that it was replaced shows only by what is missing, and what died "
    "with its writer has no bound"
)


async def lost_findings(log: Log) -> AsyncIterator[Finding]:
    """Yield what is known to be lost: changes of the server first, then jobs.

    Raises a leaf of Unavailable.
    """
    if not await server_info(log.redis.at(log.keys.log(0)), "server"):
        yield Finding("server changes", NO_INFO)
    for sentence in await told_changes(log):
        yield Finding("server change", sentence)
    found = sorted(await lost_writes(log), key=lambda lost: lost.at_ms, reverse=True)
    for lost in found[:SHOWN]:
        yield Finding("lost writes", _of_job(lost))
    if (rest := len(found) - SHOWN) > 0:
        more = f"{quantity(rest, 'more job')}, in the hash {log.keys.lost_writes()}"
        yield Finding("lost writes", more)


async def told_changes(log: Log) -> list[str]:
    """Return a sentence for each time that a server took another one's place, the newest first."""
    runs = await server_changes(log.redis, log.keys)
    return [_of_run(run) for run in reversed(runs)]


def _of_job(lost: LostWrites) -> str:
    when = f", noticed {moment_text(lost.at_ms)}" if lost.at_ms else ""
    where = f" in partition {lost.partition}" if lost.partition >= 0 else ""
    kept = f"seen up to event {lost.seen_seq}, the server had kept {lost.found_seq}"
    return f"job {lost.job_id}{where}: {kept}{when}"


def _of_run(run: ServerRun) -> str:
    """Say what a run of a server may lack of the one before it."""
    began = f"{run.node} is another server, or started anew, since {moment_text(run.since_ms)}"
    if run.lost_bytes == UNKNOWN:
        return f"{began}; how much it lacks is not known"
    since = f"between {moment_text(run.kept_until_ms)} and" if run.kept_until_ms else "until"
    if not run.lost_bytes:
        seen = f"all that was written until {moment_text(run.lost_by_ms)}"
        return f"{began}; it has {seen}, when the one before was last seen"
    lost = f"{since} {moment_text(run.since_ms)} up to {run.lost_bytes:,} bytes may be lost"
    later = f", and what the one before wrote after {moment_text(run.lost_by_ms)}"
    return f"{began}; {lost} that nobody living knew{later}"
