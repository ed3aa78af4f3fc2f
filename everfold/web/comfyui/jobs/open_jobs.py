"""The jobs that wait or run.

Rule: none is missed because it starts, or is put back, while it is looked for.
"""

from __future__ import annotations

from everfold.client import Everfold
from everfold.projector.job.job import OPEN_STATUSES, Job
from everfold.projector.job.job_filter import JobFilter

RUNNING = ("running", "canceling")


async def open_jobs(everfold: Everfold, user: str | None, most: int) -> list[Job]:
    """Return the open jobs of a user, or of all: those that run and the newest that wait, at most
    `most` of each. Raises a leaf of Unavailable.
    """
    found = dict[str, Job]()
    for statuses in (OPEN_STATUSES, ("queued",), RUNNING):
        page = await everfold.page(JobFilter(user=user, statuses=statuses), None, most)
        found |= {job.job_id: job for job in page.jobs}
        # A job that changes from one to the other between two looks would be in neither.
        if statuses == OPEN_STATUSES and page.cursor is None:
            break
    return list(found.values())
