"""Whether a filter selects a job whose content may be sealed.

Rule: an error's text is compared as it was written. It is opened where the rest of the filter
selects the job; a process that has no key refuses, as it cannot say that no job fits.
"""

from __future__ import annotations

from msgspec.structs import replace

from everfold.projector.job.job import Job
from everfold.projector.job.job_filter import JobFilter
from everfold.streams.appending.log import Log
from everfold.streams.border.sealed_form import is_sealed
from everfold.streams.errors import SealKeyMissing


async def is_selected(log: Log, selects: JobFilter, job: Job) -> bool:
    """Say whether a filter selects a job. Raises SealKeyMissing, a leaf of Unavailable."""
    error = job.error
    if not selects.error or error is None or not is_sealed(error.message):
        return selects.fits(job)
    if not replace(selects, error=None).fits(job):
        return False
    if log.sealing is None:
        raise SealKeyMissing
    return selects.fits(replace(job, error=await log.opened(error, job.job_id)))
