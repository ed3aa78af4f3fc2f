"""`everfold archive`: keep what Redis forgets, trim what is kept, ask it with SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import App, Parameter

from everfold.archives.opening import needed_archive, remember_archive
from everfold.commands.operate.process import ending_signals, log_to_stderr
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.commands.words import console, emit, plain_table
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archived, Archiver
from everfold.streams.errors import Unavailable
from everfold.streams.reading.reader import log_size
from everfold.streams.reading.readers import trimmed_to, unregister
from everfold.streams.retention.trimming import RETENTION_S, trim, trim_bounds

Place = Annotated[str, Parameter(name="--archive", env_var="EVERFOLD_ARCHIVE")]

EVERY_S = 10.0

archive = App(name="archive", help="Keep what Redis forgets; trim the log; ask it with SQL.")


@archive.command
async def run(
    *,
    archive: Place = "",
    once: Annotated[bool, Parameter(negative="")] = False,
    everything: Annotated[bool, Parameter(negative="")] = False,
    trim_after: float | None = None,
    session: Session = DEFAULT,
) -> int:
    """Write events into the archive as they become due, until Ctrl-C.

    Parameters
    ----------
    archive
        A folder, or s3://bucket/prefix. Needed the first time; the namespace remembers it.
    once
        Write what is due now, and end.
    everything
        Do not wait for segments to fill: write what is there, and end.
    trim_after
        Also trim events from the log that are older than so many seconds and may go.
    """
    log_to_stderr()
    async with session.open() as everfold, ending_signals() as signals:
        log, kept = everfold.log, await needed_archive(everfold.log, archive)
        while True:
            try:
                await _round(log, kept, everything, trim_after)
            except Unavailable as error:
                if once or everything:
                    raise
                console.print(f"waiting: {error}", markup=False)
            if once or everything:
                return 0
            with anyio.move_on_after(EVERY_S):
                await anext(signals)
                return 0


async def _round(log: Log, kept: Archive, everything: bool, trim_after: float | None) -> None:
    told = await _archive(log, kept, everything)
    await remember_archive(log, kept)
    events, segments = sum(part.events for part in told), sum(part.segments for part in told)
    if events or everything:
        url = kept.store.url
        console.print(f"{events:,} events archived in {segments} segment(s) at {url}", markup=False)
    if trim_after is not None:
        for partition in range(log.keys.partitions):
            await trim(log, partition, trim_after)


async def _archive(log: Log, kept: Archive, everything: bool) -> list[Archived]:
    total = sum([await log_size(log, partition) for partition in range(log.keys.partitions)])
    done = 0
    with event_progress("archive", DEFAULT) as tell:

        def note(events: int) -> None:
            nonlocal done
            done += events
            tell(done, max(done, total))

        return await Archiver(log, kept, note).run(everything=everything)


@archive.command
async def ls(*, archive: Place = "", session: Session = DEFAULT) -> int:
    """Show for each partition what is archived, what the log holds, and the head of the chain.

    Who keeps a head elsewhere can prove later that nothing before it was changed.
    """
    async with session.open() as everfold:
        log, kept = everfold.log, await needed_archive(everfold.log, archive)
        widths = {"partition": 9, "segments": 8, "archived": 11, "in log": 10, "trimmed": 10}
        table = plain_table(widths, "head")
        for partition in range(log.keys.partitions):
            links = await kept.links(partition)
            archived = sum(link.manifest.count for link in links)
            size, gone = await log_size(log, partition), await trimmed_to(log, partition)
            head = links[-1].sha256 if links else ""
            if session.json:
                emit(
                    {
                        "partition": partition,
                        "segments": len(links),
                        "archived": archived,
                        "in_log": size,
                        "trimmed": gone.count,
                        "head": head,
                    }
                )
            counts = (len(links), archived, size, gone.count)
            table.add_row(str(partition), *(f"{count:,}" for count in counts), head)
        if not session.json:
            console.print(kept.store.url, markup=False)
            console.print(table)
    return 0


@archive.command(name="trim")
async def trim_log(
    *,
    retention: float = RETENTION_S,
    without_archive: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    session: Session = DEFAULT,
) -> int:
    """Trim the log as far as every reader, the archive and the open jobs allow.

    Parameters
    ----------
    retention
        Seconds for which events stay in the log whoever has taken them.
    without_archive
        Trim events for good, of a namespace that has no archive.
    dry_run
        Say what would go, and what holds the rest.
    """
    async with session.open() as everfold:
        for partition in range(everfold.log.keys.partitions):
            told = await trim(
                everfold.log,
                partition,
                retention,
                needs_archive=not without_archive,
                dry_run=dry_run,
            )
            if session.json:
                emit(told)
                continue
            verb = "would go" if dry_run else "trimmed"
            console.print(
                f"partition {partition}: {told.count:,} events {verb}; "
                f"{told.held_by} holds the rest",
                markup=False,
            )
    return 0


@archive.command
async def readers(*, session: Session = DEFAULT) -> int:
    """Show what holds the trim of each partition, the most backward first."""
    async with session.open() as everfold:
        for partition in range(everfold.log.keys.partitions):
            for bound in await trim_bounds(everfold.log, partition, RETENTION_S):
                if session.json:
                    emit({"partition": partition, "what": bound.what, "entry_id": bound.entry_id})
                else:
                    line = f"{partition:>3}  {bound.entry_id:<24} {bound.what}"
                    console.print(line, markup=False)
    return 0


@archive.command
async def forget(name: str, *, session: Session = DEFAULT) -> int:
    """Let go of a registered reader: what it has not taken may be trimmed from now on.

    Exit code 3 when there is no reader of this name.
    """
    async with session.open() as everfold:
        every = range(everfold.log.keys.partitions)
        gone = [await unregister(everfold.log, partition, name) for partition in every]
    console.print(f"{name} is forgotten" if any(gone) else f"there is no reader {name}")
    return 0 if any(gone) else 3


@archive.command
async def parquet(file: Path, *, archive: Place = "", session: Session = DEFAULT) -> int:
    """Write the archived events into one Parquet file, with the columns that `sql` has."""
    from everfold.archives.sql import ask

    async with session.open() as everfold:
        kept = await needed_archive(everfold.log, archive)
        query = f"COPY (SELECT * FROM events ORDER BY time) TO '{_quoted(file)}' (FORMAT parquet)"
        _, rows = await ask(kept, range(everfold.log.keys.partitions), query)
    console.print(f"{rows[0][0]:,} events written to {file}", markup=False)
    return 0


def _quoted(file: Path) -> str:
    return str(file.absolute()).replace("'", "''")


@archive.command
async def sql(query: str, *, archive: Place = "", session: Session = DEFAULT) -> int:
    """Ask the archive with SQL: the table `events` has one row per archived event.

    Columns: partition, entry_id, time, job_id, seq, epoch, type, event (JSON).
    """
    from everfold.archives.sql import ask

    async with session.open() as everfold:
        kept = await needed_archive(everfold.log, archive)
        columns, rows = await ask(kept, range(everfold.log.keys.partitions), query)
    for row in rows:
        if session.json:
            emit(dict(zip(columns, map(str, row), strict=True)))
    if not session.json:
        table = plain_table(dict.fromkeys(columns[:-1], 4), columns[-1])
        for row in rows:
            table.add_row(*map(str, row))
        console.print(table)
    return 0


archive.command("everfold.commands.stream.export_file:export", name="export")
archive.command("everfold.commands.stream.export_file:import_export", name="import")
