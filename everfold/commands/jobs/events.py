"""`everfold events [JOB] [--follow]`: the log itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal

from cyclopts import Parameter

from everfold.archives.opening import known_archive
from everfold.client import Everfold
from everfold.commands.formats import event_line, event_object
from everfold.commands.options import AnyJobId, ArchiveUrl
from everfold.commands.output import complain, emit, say_wrapped
from everfold.commands.session import DEFAULT, Session
from everfold.contract.cloudevents import to_cloudevent
from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import Refused, UndecodableEvent
from everfold.streams.events.event import Terminal
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_order
from everfold.streams.retention.history import all_history, job_history

Format = Literal["text", "json", "cloudevents"]


class EventPrinter:
    """Prints events in one format, and counts those that have none in it."""

    def __init__(self, form: Format, namespace: str) -> None:
        self._form, self._namespace = form, namespace
        self.left_out = 0

    def print(self, record: Recorded) -> None:
        if self._form == "cloudevents":
            self._print_cloudevent(record)
        elif self._form == "json":
            emit(event_object(record))
        else:
            say_wrapped(*event_line(record))

    def _print_cloudevent(self, record: Recorded) -> None:
        try:
            emit(to_cloudevent(record, self._namespace))
        except UndecodableEvent as error:
            self.left_out += 1
            event = f"event {record.seq} of job {record.job_id}, " if record.job_id else ""
            why = " ".join(error.why.split())
            complain(f"left out: {event}entry {record.entry_id}: {why}")


async def events(
    job_id: AnyJobId = None,
    *,
    follow: Annotated[bool, Parameter(alias="-f")] = False,
    format: Format | None = None,
    archive: ArchiveUrl = "",
    session: Session = DEFAULT,
) -> int:
    """Print the events of a job, or of all jobs.

    Parameters
    ----------
    follow
        Continue with new events until the job ends, or until Ctrl-C.
    format
        text (the default), json (the same as --json), or cloudevents: CloudEvents 1.0, one per
        line. An entry that cannot be read has no CloudEvent: it is named on stderr, and the exit
        code is 1.
    """
    printer = EventPrinter(_chosen(format, session), session.namespace)
    # The tail first: what is appended while the history is printed is not missed.
    async with session.open("reader") as everfold, everfold.follow() as batches:
        job_id = await everfold.find(job_id) if job_id else None
        kept = await known_archive(everfold.log, archive)
        if job_id is None:
            printed = await _print_all(everfold, kept, printer)
            if follow:
                await _print_all_new(everfold, batches, printed, printer)
        else:
            seen = await _print_job(everfold, job_id, kept, printer)
            if follow and not seen.is_terminal:
                await _print_job_new(batches, job_id, seen, printer)
    return 1 if printer.left_out else 0


def _chosen(form: Format | None, session: Session) -> Format:
    if session.json and form not in (None, "json"):
        raise Refused(f"--json and --format {form} contradict each other: leave one of them out")
    return form or ("json" if session.json else "text")


async def _print_job(
    everfold: Everfold, job_id: str, kept: Archive | None, printer: EventPrinter
) -> Job:
    """Print a job's stored events; return the job after them."""
    job = Job()
    stored = await job_history(everfold.log, job_id, kept)
    for record in await everfold.log.opened_records(stored):
        printer.print(record)
        job = evolve(job, record)
    return job


async def _print_job_new(
    batches: AsyncIterator[Sequence[Recorded]], job_id: str, seen: Job, printer: EventPrinter
) -> None:
    """Print new events until the job ends."""
    async for batch in batches:
        for record in batch:
            if record.job_id != job_id or record.seq <= seen.seq:
                continue
            printer.print(record)
            if isinstance(record.event, Terminal):
                return


async def _print_all(
    everfold: Everfold, kept: Archive | None, printer: EventPrinter
) -> dict[int, str]:
    """Print all stored events; return partition -> entry id of its last event of a job."""
    printed = dict[int, str]()
    async for stored_record in all_history(everfold.log, kept):
        for record in await everfold.log.opened_records([stored_record]):
            printer.print(record)
            if record.job_id:
                printed[everfold.log.keys.partition_of(record.job_id)] = record.entry_id
    return printed


async def _print_all_new(
    everfold: Everfold,
    batches: AsyncIterator[Sequence[Recorded]],
    printed: dict[int, str],
    printer: EventPrinter,
) -> None:
    """Print new events without end, except those that were appended while all were printed."""
    async for batch in batches:
        for record in batch:
            partition = everfold.log.keys.partition_of(record.job_id)
            last = entry_order(printed.get(partition, NO_ENTRY))
            if not record.job_id or entry_order(record.entry_id) > last:
                printer.print(record)
