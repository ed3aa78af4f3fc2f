"""`everfold jobs why|priority`: why a job waits, and another place for it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter

from everfold.commands.options import JobId
from everfold.commands.session import DEFAULT, Session
from everfold.streams.border.quantity import quantity

Priority = Annotated[str, Parameter(help="high, normal or low.")]


async def priority(job_id: JobId, priority: Priority, /, *, session: Session = DEFAULT) -> None:
    """Give a waiting job the priority high, normal or low.

    It stands behind the jobs of its user that wait with that priority.
    """
    async with session.operate() as everfold:
        job_id = await everfold.find(job_id)
        before = await everfold.change_priority(job_id, priority)
        ahead = await everfold.position(job_id)
    behind = "" if ahead is None else f"; {quantity(ahead, 'job')} before it"
    change = (
        f"has priority {priority} now, before {before}"
        if before != priority
        else (f"had priority {priority} already")
    )
    told = {"job_id": job_id, "priority": priority, "before": before, "position": ahead}
    session.tell(told, f"{job_id} {change}{behind}")


async def why(job_id: JobId, *, session: Session = DEFAULT) -> None:
    """Say in one sentence why a job waits, or what it does."""
    async with session.open("reader") as everfold:
        job_id = await everfold.find(job_id)
        found = await everfold.why(job_id)
    session.tell({"job_id": job_id, **msgspec.to_builtins(found)}, found.sentence)
