"""`everfold archive export|import`: a history in one file, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from everfold.archives.export_file import ExportWriter, Graph, Header, check_export, read_export
from everfold.archives.opening import known_archive
from everfold.archives.selection import Selection
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.commands.stream.archive import Place
from everfold.commands.words import console
from everfold.embedded import find_server
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.segment import records_of
from everfold.streams.errors import Misconfigured
from everfold.streams.events.event import Submitted, Terminal
from everfold.streams.events.record import FIELDS, RawEntry, Recorded
from everfold.streams.retention.history import history_pages
from everfold.streams.retention.importing import begin_import, end_import, import_entries, reopen

PAGE = 500


async def export(
    file: Path,
    *,
    since: Annotated[datetime | None, Parameter(name="--from")] = None,
    until: datetime | None = None,
    job: str = "",
    user: str | None = None,
    archive: Place = "",
    session: Session = DEFAULT,
) -> int:
    """Write the whole history, archived events included, or that of some jobs, into one file.

    Job ids, sequence numbers, entry ids and the events' own bytes are kept. Entries of the log that
    are not Everfold's are left out.

    Parameters
    ----------
    since
        Only jobs submitted from this time on.
    until
        Only jobs submitted up to this time.
    job
        Only this job.
    user
        Only jobs of this user.
    """
    wants = Selection(since, until, job, user)
    async with session.open() as everfold:
        kept = await known_archive(everfold.log, archive)
        with _writing(file, everfold.log) as writer, event_progress("export", session) as tell:
            for partition in range(everfold.log.keys.partitions):
                pages = history_pages(everfold.log, partition, archive=kept, size=PAGE)
                async for page in pages:
                    for record in filter(wants.takes, page):
                        writer.entry(partition, _entry(record))
                        await _write_graph(writer, everfold.log, kept, record)
                    tell(writer.events, writer.events)
    console.print(f"{writer.events:,} events written to {file}", markup=False)
    return 0


@contextlib.contextmanager
def _writing(file: Path, log: Log) -> Iterator[ExportWriter]:
    """A file that is there as a whole afterwards, or not at all."""
    try:
        writer = ExportWriter(file, Header(log.keys.namespace, log.keys.partitions))
    except OSError as error:
        raise Misconfigured(f"{file} cannot be written: {error}") from error
    try:
        yield writer
        writer.end()
    finally:
        writer.discard()


def _entry(record: Recorded) -> RawEntry:
    numbers = (str(record.seq).encode(), str(record.epoch).encode())
    values = (record.job_id.encode(), *numbers, record.previous.encode(), record.payload)
    flat = [text for pair in zip(FIELDS, values, strict=True) for text in pair]
    return record.entry_id.encode(), flat


async def _write_graph(
    writer: ExportWriter, log: Log, kept: Archive | None, record: Recorded
) -> None:
    if not isinstance(record.event, Submitted):
        return
    sha256 = record.event.workflow
    graph = await log.workflow(record.job_id, sha256)
    if graph is None and kept is not None:
        graph = await kept.workflow(sha256)
    if graph is not None:
        writer.graph(sha256, graph)


async def import_export(file: Path, *, session: Session = DEFAULT) -> int:
    """Read an exported file back into an empty namespace, the one that --namespace names.

    The file is checked as a whole first. Jobs that had not ended wait for a runner, which asks
    their ComfyUI what became of them. An import that was interrupted goes on when it is repeated.
    """
    header, end = check_export(file)
    url = session.redis_url or find_server()
    async with Log.open(
        url, namespace=session.namespace, partitions=header.partitions, actor="import"
    ) as log:
        await begin_import(log, end.sha256)
        with event_progress("import", session) as tell:
            open_jobs = await _import(log, file, lambda done: tell(done, end.events))
        await _reopen(log, file, open_jobs)
        await end_import(log)
    told = f"{end.events:,} events imported into {session.namespace}"
    console.print(f"{told}, {len(open_jobs)} job(s) wait for a runner", markup=False)
    return 0


async def _import(log: Log, file: Path, note: Callable[[int], None]) -> set[str]:
    """Add all entries; return the jobs that have not ended."""
    open_jobs: set[str] = set()
    page: list[RawEntry] = []
    at, done = -1, 0
    for item in read_export(file):
        if isinstance(item, Graph):
            continue
        partition, entry = item
        if page and (partition != at or len(page) == PAGE):
            await import_entries(log, at, page)
            note(done)
            page = []
        at, done = partition, done + 1
        page.append(entry)
        for record in records_of([entry]):
            _follow(open_jobs, record)
    if page:
        await import_entries(log, at, page)
    return open_jobs


def _follow(open_jobs: set[str], record: Recorded) -> None:
    if isinstance(record.event, Submitted):
        open_jobs.add(record.job_id)
    if isinstance(record.event, Terminal):
        open_jobs.discard(record.job_id)


async def _reopen(log: Log, file: Path, open_jobs: set[str]) -> None:
    """Let the open jobs wait for a runner, each with its graph."""
    by_graph: dict[str, list[Job]] = {}
    for job_id in open_jobs:
        job = await current(log, job_id)
        by_graph.setdefault(job.workflow, []).append(job)
    for item in read_export(file):
        if isinstance(item, Graph):
            for job in by_graph.pop(item.sha256, []):
                await reopen(log, job.job_id, item.graph.encode(), job.run_at_ms)
    for jobs in by_graph.values():
        for job in jobs:
            await reopen(log, job.job_id, None, job.run_at_ms)
