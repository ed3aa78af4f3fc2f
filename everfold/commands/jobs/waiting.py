"""`everfold jobs priority`: another place for a waiting job."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from everfold.commands.options import JobId
from everfold.commands.session import DEFAULT, Session

Priority = Annotated[str, Parameter(help="high, normal or low.")]


async def priority(job_id: JobId, priority: Priority, /, *, session: Session = DEFAULT) -> None:
    """Give a waiting job the priority high, normal or low.

    It stands behind the jobs of its user that wait with that priority.
    """
    async with session.operate() as everfold:
        job_id = await everfold.find(job_id)
        before = await everfold.change_priority(job_id, priority)
        ahead = await everfold.position(job_id)
    behind = "" if ahead is None else f"; {ahead} job(s) stand before it"
    change = (
        f"has priority {priority} now, before {before}"
        if before != priority
        else (f"had priority {priority} already")
    )
    told = {"job_id": job_id, "priority": priority, "before": before, "position": ahead}
    session.tell(told, f"{job_id} {change}{behind}")
