"""`everfold events [JOB] [--follow]`: the log itself."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from everfold.archives.opening import known_archive
from everfold.client import Everfold
from everfold.commands.archive import Place
from everfold.commands.session import DEFAULT, Session
from everfold.commands.words import console, emit, event_line, event_object
from projector.evolve import evolve
from projector.job import Job
from streams.archive.archive import Archive
from streams.events import Terminal
from streams.history import all_history, job_history
from streams.record import Recorded


async def events(
    job_id: str | None = None,
    *,
    follow: Annotated[bool, Parameter(alias="-f", negative="")] = False,
    archive: Place = "",
    session: Session = DEFAULT,
) -> None:
    """Print the events of a job, or of all jobs.

    Parameters
    ----------
    follow
        Go on with what happens from now on: until the job ends, or until Ctrl-C.
    """
    # The tail first: what is appended while the history is printed is not missed.
    async with session.open() as everfold, everfold.follow() as batches:
        kept = await known_archive(everfold.log, archive)
        seen = await _print_history(everfold, job_id, kept, session)
        if not follow or (job_id and seen.is_terminal):
            return
        async for batch in batches:
            for record in batch:
                if job_id and (record.job_id != job_id or record.seq <= seen.seq):
                    continue
                _print(record, session)
                if job_id and isinstance(record.event, Terminal):
                    return


async def _print_history(
    everfold: Everfold, job_id: str | None, kept: Archive | None, session: Session
) -> Job:
    """Print what there is; return the job after it, an empty one for all jobs."""
    job = Job()
    if job_id is not None:
        for record in await job_history(everfold.log, job_id, kept):
            _print(record, session)
            job = evolve(job, record)
        return job
    async for record in all_history(everfold.log, kept):
        _print(record, session)
    return job


def _print(record: Recorded, session: Session) -> None:
    if session.json:
        emit(event_object(record))
    else:
        console.print(event_line(record))
