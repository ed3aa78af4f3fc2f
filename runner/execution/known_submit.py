"""How a job was submitted, as its runner has read it, so that it can be submitted again.

Rule: read once for each run and kept, with what the job sends: the server may lose both.
"""

from __future__ import annotations

from typing import NamedTuple

from everfold.streams.appending.earlier_submit import first_record
from everfold.streams.appending.job_input import JobInput
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.appending.submitting import NewJob
from everfold.streams.events.event import Submitted
from everfold.streams.events.needs import Needs
from everfold.streams.events.workflow_check import CheckedWorkflow


class KnownSubmit(NamedTuple):
    """The arguments of `Memory.note_submit`."""

    new: NewJob
    payload: bytes
    entry_id: str


async def known_submit(log: Log, lease: Lease, needs: Needs, sent: JobInput) -> KnownSubmit | None:
    """Return how the job was submitted; None where the event cannot be read.

    `needs` is what the job needs of a server, `sent` what it sends. Raises a leaf of Unavailable.
    """
    first = lease.history[0] if lease.history else None
    if first is None:
        first = await first_record(log.redis, log.keys, lease.job_id)
    if first is None or not isinstance(event := first.event, Submitted):
        return None
    stored = CheckedWorkflow(sent.stored, event.stored)
    new = NewJob(lease.job_id, event, stored, sent.partner_keys, needs)
    return KnownSubmit(new, first.payload, first.entry_id)
