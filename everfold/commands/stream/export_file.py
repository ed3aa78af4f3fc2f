"""`everfold archive export|import`: writes a history into one file, and reads it back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from everfold.archives.export_assets import Taken, export_assets, import_assets, named_by
from everfold.archives.export_file import (
    ExportWriter,
    Graph,
    Header,
    Item,
    check_export,
    read_export,
)
from everfold.archives.opening import known_archive
from everfold.archives.selection import Selection, is_of_newest, needed_job
from everfold.assets.sizes import size_text
from everfold.assets.store_of import open_assets
from everfold.commands.options import (
    ArchiveUrl,
    AssetsPlace,
    OnlyJob,
    SubmittedSince,
    SubmittedUntil,
    User,
)
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current
from everfold.runner.decisions.bounds import has_started
from everfold.runner.execution.unreadable_job import read_remains
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.segment import records_of
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import CorruptLog, Misconfigured
from everfold.streams.events.event import Submitted, Terminal
from everfold.streams.events.record import FIELDS, RawEntry, Recorded, entry_order
from everfold.streams.retention.history import history_pages
from everfold.streams.retention.importing import (
    begin_import,
    end_import,
    import_entries,
    keep_graph,
    reopen,
)

PAGE = 500

WithAssets = Annotated[
    bool, Parameter(negative=(), help="Take the stored files of the jobs along, in FILE.assets.")
]


async def export(
    file: Annotated[Path, Parameter(help="The file to write.")],
    *,
    since: SubmittedSince = None,
    until: SubmittedUntil = None,
    job: OnlyJob = None,
    user: User = None,
    archive: ArchiveUrl = "",
    with_assets: WithAssets = False,
    assets: AssetsPlace = None,
    session: Session = DEFAULT,
) -> int:
    """Write the history of all jobs, or of some, into one file; archived events included.

    Job ids, sequence numbers, entry ids and the events' own bytes are kept. Entries of the log
    that are not Everfold's are left out. With --with-assets, the stored files that these jobs name
    are copied into the folder FILE.assets; those that are no longer kept are counted.
    """
    named = dict[str, None]()
    async with session.log() as log:
        kept = await known_archive(log, archive)
        wanted = Selection(since, until, await needed_job(log, job, kept), user)
        with _writing(file, log) as writer, event_progress("export", session) as progress:
            for partition in range(log.keys.partitions):
                async for page in history_pages(log, partition, archive=kept, size=PAGE):
                    for record in filter(wanted.takes, page):
                        writer.entry(partition, _entry(record))
                        await _write_graph(writer, log, kept, record)
                        for opened in await log.opened_records([record]):
                            named.update(dict.fromkeys(named_by(opened)))
                    progress(writer.events, writer.events)
            # The file is there only when its assets are.
            taken = None
            if with_assets:
                taken = await export_assets(open_assets(log, assets), named, file)
    told = {"events": writer.events, "file": str(file), **_told(taken)}
    session.tell(told, f"{writer.events:,} events written to {file}", *_words(taken, "taken along"))
    return 0


def _told(taken: Taken | None) -> dict[str, int]:
    if taken is None:
        return {}
    sizes = {"assets": taken.assets, "assets_bytes": taken.size_bytes}
    return {**sizes, "assets_missing": taken.missing}


def _words(taken: Taken | None, done: str) -> list[str]:
    if taken is None:
        return []
    lines = [f"{quantity(taken.assets, 'file')} {done}, {size_text(taken.size_bytes)}"]
    if taken.missing:
        lines.append(f"{taken.missing:,} that jobs name are no longer kept")
    return lines


@contextlib.contextmanager
def _writing(file: Path, log: Log) -> Iterator[ExportWriter]:
    """Yield a writer; afterwards the file is whole, or not there. Raises Misconfigured."""
    try:
        writer = ExportWriter(file, Header(log.keys.namespace, log.keys.partitions))
        with contextlib.ExitStack() as stack:
            stack.callback(writer.discard)
            yield writer
            writer.end()
    except OSError as error:
        raise Misconfigured(f"{file} cannot be written: {error.strerror or error}") from error


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
    sha256 = record.event.stored
    graph = await log.workflow(record.job_id, sha256)
    if graph is None and kept is not None:
        graph = await kept.workflow(sha256)
    if graph is not None:
        writer.graph(sha256, graph)


async def import_export(
    file: Annotated[Path, Parameter(help="The exported file.")],
    *,
    allow_broken: bool = False,
    with_assets: WithAssets = False,
    assets: AssetsPlace = None,
    session: Session = DEFAULT,
) -> int:
    """Read an exported file back into an empty namespace, the one that --namespace names.

    The whole file is checked first. Jobs that had not ended wait for a runner, which asks their
    ComfyUI for their results. Of an id that was used again after a trim only the newest job is
    imported. An import that was interrupted continues when it is repeated; until
    then the namespace takes no submits, and `doctor` names it. With --with-assets, the files in
    the folder FILE.assets are stored under the ids that they had, each compared with its hash, and
    kept from now as long as they were to be kept.

    Parameters
    ----------
    allow_broken
        Import jobs with holes in their events, too, as a server that lost some leaves them.
    """
    checked = check_export(file, allow_broken=allow_broken)
    partitions, end = checked.header.partitions, checked.end
    async with session.log("import", partitions=partitions, creates=True) as log:
        await begin_import(log, end.sha256)
        with event_progress("import", session) as progress:
            items = partial(read_export, file, end.sha256)
            open_jobs, count = await _import(
                log, items(), checked.begun_again, lambda done: progress(done, end.events)
            )
        taken = await import_assets(open_assets(log, assets), file) if with_assets else None
        await _reopen(log, items(), open_jobs)
        await end_import(log)
    told = {"events": count, "namespace": session.namespace, "open_jobs": len(open_jobs)}
    told |= _told(taken)
    lines = [f"{count:,} events imported into {session.namespace}, "]
    lines[0] += f"{quantity(len(open_jobs), 'job')} for a runner"
    if earlier := end.events - count:
        lines.append(f"{earlier:,} of earlier jobs, whose ids were used again, are left out")
    session.tell(told, *lines, *_words(taken, "stored"))
    return 0


async def _import(
    log: Log, items: Iterable[Item], begun_again: Mapping[str, str], note: Callable[[int], None]
) -> tuple[dict[str, str], int]:
    """Add the entries of each id's newest job; return the jobs that have not ended, each with its
    first entry, and how many entries that were."""
    open_jobs: dict[str, str] = {}
    page: list[RawEntry] = []
    at, done = -1, 0
    for partition, entry, record in _newest(items, begun_again):
        if page and (partition != at or len(page) == PAGE):
            await import_entries(log, at, page)
            note(done)
            page = []
        at, done = partition, done + 1
        page.append(entry)
        _follow(open_jobs, record)
    if page:
        await import_entries(log, at, page)
    return open_jobs, done


def _newest(
    items: Iterable[Item], begun_again: Mapping[str, str]
) -> Iterator[tuple[int, RawEntry, Recorded]]:
    for item in items:
        if not isinstance(item, Graph):
            partition, entry = item
            [record] = records_of([entry])
            if is_of_newest(record, begun_again):
                yield partition, entry, record


def _follow(open_jobs: dict[str, str], record: Recorded) -> None:
    if isinstance(record.event, Submitted):
        open_jobs[record.job_id] = record.entry_id
    if isinstance(record.event, Terminal):
        open_jobs.pop(record.job_id, None)


async def _readable(log: Log, job_id: str) -> Job:
    """Return a job as far as it can be read; one that cannot is left to the runners."""
    try:
        return await current(log, job_id)
    except CorruptLog:
        return (await read_remains(log, job_id)).job


async def _reopen(log: Log, items: Iterable[Item], open_jobs: Mapping[str, str]) -> None:
    """Put the open jobs, each with its graph, where runners take jobs from, in their order."""
    in_order = sorted(open_jobs, key=lambda job_id: entry_order(open_jobs[job_id]))
    jobs = [await _readable(log, job_id) for job_id in in_order]
    by_graph: dict[str, list[str]] = {}
    for job in jobs:
        by_graph.setdefault(job.stored, []).append(job.job_id)
    # A graph may stand behind the jobs that have it, and all graphs may be too much for memory.
    for item in items:
        if isinstance(item, Graph):
            for job_id in by_graph.pop(item.sha256, []):
                await keep_graph(log, job_id, item.sha256, item.graph.encode())
    for job in jobs:
        graph = await log.workflow(job.job_id, job.stored)
        due_ms, start_by_ms = job.run_at_ms, _start_by_ms(job)
        await reopen(log, job.job_id, graph, due_ms, job.needs, job.inputs, start_by_ms)


def _start_by_ms(job: Job) -> int:
    """Return when a job that waits is to be ended, 0 for never.

    One that may be alive at its backend is left to its runner, which asks there first.
    """
    limit_s = job.policy.queue_deadline_s
    if job.may_be_alive:
        return 0
    if job.is_canceling:
        return job.cancel_requested_at_ms
    if limit_s is None or has_started(job):
        return 0
    return max(job.submitted_at_ms, job.run_at_ms) + max(1, int(limit_s * 1000))
