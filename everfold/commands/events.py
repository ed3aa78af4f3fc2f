"""`everfold events [JOB] [--follow]`: the log itself."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from everfold.archives.opening import known_archive
from everfold.client import Everfold
from everfold.commands.archive import Place
from everfold.commands.session import DEFAULT, Session
from everfold.commands.words import console, emit, event_line, event_object
from everfold.contract.cloudevents import to_cloudevent
from projector.evolve import evolve
from projector.job import Job
from streams.archive.archive import Archive
from streams.errors import Misconfigured, UndecodableEvent
from streams.events import Terminal
from streams.history import all_history, job_history
from streams.record import Recorded


async def events(
    job_id: str | None = None,
    *,
    follow: Annotated[bool, Parameter(alias="-f", negative="")] = False,
    format: Literal["text", "json", "cloudevents"] | None = None,
    archive: Place = "",
    session: Session = DEFAULT,
) -> int:
    """Print the events of a job, or of all jobs.

    Parameters
    ----------
    follow
        Go on with what happens from now on: until the job ends, or until Ctrl-C.
    format
        cloudevents: CloudEvents 1.0, one structured JSON object per line. What is no event is
        named on standard error, and the exit code is 1 then.
    """
    printer = Printer(_format(format, session), session.namespace)
    # The tail first: what is appended while the history is printed is not missed.
    async with session.open() as everfold, everfold.follow() as batches:
        kept = await known_archive(everfold.log, archive)
        seen = await _print_history(everfold, job_id, kept, printer)
        if not follow or (job_id and seen.is_terminal):
            return printer.exit_code
        async for batch in batches:
            for record in batch:
                if job_id and (record.job_id != job_id or record.seq <= seen.seq):
                    continue
                printer.print(record)
                if job_id and isinstance(record.event, Terminal):
                    return printer.exit_code
    return printer.exit_code


def _format(wanted: str | None, session: Session) -> str:
    if session.json and wanted not in (None, "json"):
        raise Misconfigured(f"--json and --format {wanted} contradict each other; leave one out")
    return wanted or ("json" if session.json else "text")


async def _print_history(
    everfold: Everfold, job_id: str | None, kept: Archive | None, printer: Printer
) -> Job:
    """Print what there is; return the job after it, an empty one for all jobs."""
    job = Job()
    if job_id is not None:
        for record in await job_history(everfold.log, job_id, kept):
            printer.print(record)
            job = evolve(job, record)
        return job
    async for record in all_history(everfold.log, kept):
        printer.print(record)
    return job


class Printer:
    """Prints events in one format."""

    def __init__(self, format: str, namespace: str) -> None:
        self._format, self._namespace = format, namespace
        self.exit_code = 0

    def print(self, record: Recorded) -> None:
        match self._format:
            case "json":
                emit(event_object(record))
            case "cloudevents":
                self._print_cloudevent(record)
            case _:
                console.print(event_line(record))

    def _print_cloudevent(self, record: Recorded) -> None:
        try:
            emit(to_cloudevent(record, self._namespace))
        except UndecodableEvent as error:
            sys.stderr.write(f"everfold: {error}\n")
            self.exit_code = 1
