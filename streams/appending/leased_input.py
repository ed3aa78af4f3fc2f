"""What a job sends, for the holder of its lease.

Rule: while another server becomes the primary, two commands may reach two servers. That something
is no longer kept is believed only of a server that has the lease, as told in the same write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everfold.streams.appending.job_input import JobInput, Sends, load_input
from everfold.streams.errors import Fenced, JobUnknown
from everfold.streams.events.event import Failure
from everfold.streams.redis.redis_errors import command, commands_together

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log
    from everfold.streams.appending.outcomes import Lease

TRIES = 3


async def load_leased_input(log: Log, job: Sends, lease: Lease) -> JobInput | Failure:
    """Return what the job sends, as `load_input` does; a failure only where a server that has the
    lease says so.

    Raises besides JobUnknown or Fenced where the server that lacks it lacks the lease too, and a
    leaf of Unavailable.
    """
    found = await load_input(log, job, lease.stored)
    for _ in range(TRIES):
        if not isinstance(found, Failure) or not await _is_kept(log, job, lease):
            return found
        found = await load_input(log, job)
    return found


async def _is_kept(log: Log, job: Sends, lease: Lease) -> bool:
    """Say whether the server that has the lease has all that the job sends."""
    head, partition = log.keys.head(lease.job_id), log.keys.partition_of(lease.job_id)
    made_by = await command(log.redis, "HGET", head, "made_by")
    name = made_by.decode(errors="replace") if isinstance(made_by, bytes) else ""
    asked = [("HGET", head, "epoch"), ("GET", log.keys.workflow(partition, job.stored))]
    if job.partner_keys:
        asked.append(("GET", log.keys.partner_keys(lease.job_id, name)))
    epoch, *kept = await commands_together(log.redis, *asked)
    if not isinstance(epoch, bytes):
        raise JobUnknown(lease.job_id)
    if epoch != str(lease.epoch).encode():
        known = int(epoch) if epoch.isdigit() else 0
        raise Fenced(lease.job_id, lease.epoch, known)
    return None not in kept
