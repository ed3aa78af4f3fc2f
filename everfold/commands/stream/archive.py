"""`everfold archive`: keeps what Redis forgets, trims what is kept, answers SQL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import App, Parameter

from everfold.archives.opening import needed_archive, remember_archive
from everfold.commands.new_file import new_file
from everfold.commands.numbers import duration
from everfold.commands.options import ArchiveUrl
from everfold.commands.output import say
from everfold.commands.process.keep_options import KEEP, KeepOptions, keeping
from everfold.commands.process.process import ending_signals, running
from everfold.commands.process.process_options import PROCESS, ProcessOptions
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.commands.stream.sql_values import cell, json_row
from everfold.retention.keeper import is_pressed
from everfold.runner.config import runner_name
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archived, Archiver
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import OUTAGES, WrongKeyType
from everfold.streams.reading.reader import log_size
from everfold.streams.reading.readers import trimmed_to, unregister
from everfold.streams.redis.each import each
from everfold.streams.retention.trimming import RETENTION_S, trim, trim_bounds

EVERY_S = 10.0

TrimAfter = Annotated[
    float | None,
    duration(
        "trim_after_s",
        "Also trim archived events from the log once they are older than this, as `archive trim` "
        "does. Default: no trim.",
    ),
]
Retention = Annotated[float, duration("retention_s", "Events younger than this stay in the log.")]

archive = App(name="archive", help="Keep what Redis forgets; trim the log; query it with SQL.")
archive.command(
    "everfold.commands.stream.export_file:export",
    name="export",
    help="Write the history of all jobs, or of some, into one file; archived events included.",
)
archive.command(
    "everfold.commands.stream.export_file:import_export",
    name="import",
    help="Read an exported file back into an empty namespace, the one that --namespace names.",
)


@archive.command
async def run(
    *,
    archive: ArchiveUrl = "",
    once: bool = False,
    everything: bool = False,
    trim_after: TrimAfter = None,
    keep: KeepOptions = KEEP,
    process: ProcessOptions = PROCESS,
    session: Session = DEFAULT,
) -> int:
    """Write events into the archive as they become due, until Ctrl-C.

    Parameters
    ----------
    once
        Write what is due now, and end.
    everything
        Write everything, without waiting for segments to fill, and end.
    """
    async with (
        running(process, session) as this,
        session.log(role="archiver", creates=True) as log,
        ending_signals() as signals,
    ):
        kept = await needed_archive(log, archive)
        if once or everything:
            await _round(log, kept, everything, trim_after, session, tells_none=everything)
            return 0
        async with keeping(keep, log, runner_name("archiver"), session, needs_archive=True):
            this.serves(log)
            this.started()
            while True:
                try:
                    # What is not archived is not trimmed: without memory nothing waits to be due.
                    await _round(log, kept, await is_pressed(log), trim_after, session)
                except (*OUTAGES, WrongKeyType) as error:
                    session.tell({"waiting": str(error)}, f"waiting: {error}")
                with anyio.move_on_after(EVERY_S):
                    await anext(signals)
                    return 0


async def _round(
    log: Log,
    kept: Archive,
    everything: bool,
    trim_after: float | None,
    session: Session,
    *,
    tells_none: bool = False,
) -> None:
    written = await _archive(log, kept, everything, session)
    await remember_archive(log, kept)
    events, segments = sum(part.events for part in written), sum(part.segments for part in written)
    if events or tells_none:
        told = {"events": events, "segments": segments, "archive": kept.store.url}
        sentence = (
            f"{events:,} events archived in {quantity(segments, 'segment')} at {kept.store.url}"
        )
        session.tell(told, sentence)
    if trim_after is not None:
        (await each(log, lambda p: trim(log, p, trim_after), at_once=1)).all()


async def _archive(log: Log, kept: Archive, everything: bool, session: Session) -> list[Archived]:
    total = sum((await each(log, partial(log_size, log))).all())
    done = 0
    with event_progress("archive", session) as progress:

        def note(events: int) -> None:
            nonlocal done
            done += events
            progress(done, max(done, total))

        return await Archiver(log, kept, note).run(everything=everything)


@archive.command
async def ls(*, archive: ArchiveUrl = "", session: Session = DEFAULT) -> int:
    """Show what is archived of each partition, what the log holds, and the chain's head.

    Keep a head elsewhere to prove later (`audit prove`) that nothing before it was changed.
    """
    async with session.log() as log:
        kept = await needed_archive(log, archive)
        rows = (await each(log, partial(_partition, log, kept))).all()
    if not session.json:
        say(kept.store.url)
    session.show(
        rows,
        {
            "partition": lambda row: str(row["partition"]),
            "segments": lambda row: row["segments"],
            "archived": lambda row: row["archived"],
            "in log": lambda row: row["in_log"],
            "trimmed": lambda row: row["trimmed"],
            "head": lambda row: row["head"],
        },
    )
    return 0


async def _partition(log: Log, kept: Archive, partition: int) -> dict[str, int | str]:
    links = await kept.links(partition)
    return {
        "partition": partition,
        "segments": len(links),
        "archived": sum(link.manifest.count for link in links),
        "in_log": await log_size(log, partition),
        "trimmed": (await trimmed_to(log, partition)).count,
        "head": links[-1].sha256 if links else "",
    }


@archive.command(name="trim")
async def trim_log(
    *,
    retention: Retention = RETENTION_S,
    without_archive: bool = False,
    dry_run: bool = False,
    session: Session = DEFAULT,
) -> int:
    """Trim the log as far as every reader, the archive and the open jobs allow.

    Parameters
    ----------
    without_archive
        Trim a namespace without an archive; its events are lost.
    dry_run
        Trim nothing; show what would go, and what holds the rest.
    """
    verb = "would go" if dry_run else "trimmed"
    async with session.log() as log:
        for partition in range(log.keys.partitions):
            result = await trim(
                log, partition, retention, needs_archive=not without_archive, dry_run=dry_run
            )
            rest = f"{result.held_by} holds the rest"
            session.tell(result, f"partition {partition}: {result.count:,} events {verb}; {rest}")
    return 0


@archive.command
async def readers(*, session: Session = DEFAULT) -> int:
    """Show what holds the trim of each partition, the furthest behind first."""
    async with session.log() as log:
        rows: list[dict[str, str | int]] = [
            {"partition": partition, "what": bound.what, "entry_id": bound.entry_id}
            for partition in range(log.keys.partitions)
            for bound in await trim_bounds(log, partition, RETENTION_S)
        ]
    session.show(
        rows,
        {
            "partition": lambda row: str(row["partition"]),
            "entry": lambda row: row["entry_id"],
            "what": lambda row: row["what"],
        },
    )
    return 0


@archive.command
async def forget(
    name: Annotated[str, Parameter(help="The reader's name.")], *, session: Session = DEFAULT
) -> int:
    """Unregister a reader: what it has not read may be trimmed from now on.

    The exit code is 3 when there is no reader of this name.
    """
    async with session.log() as log:
        gone = (await each(log, lambda partition: unregister(log, partition, name))).all()
    sentence = f"{name} is forgotten" if any(gone) else f"there is no reader {name}"
    session.tell({"reader": name, "was_registered": any(gone)}, sentence)
    return 0 if any(gone) else 3


@archive.command
async def parquet(
    file: Annotated[Path, Parameter(help="The file to write.")],
    *,
    archive: ArchiveUrl = "",
    session: Session = DEFAULT,
) -> int:
    """Write the archived events into one Parquet file, with the columns that `sql` has."""
    with new_file(file) as part:
        target = str(part.absolute()).replace("'", "''")
        # Else DuckDB writes to another file first, whose name others know.
        kind = "(FORMAT parquet, USE_TMP_FILE false)"
        query = f"COPY (SELECT * FROM events ORDER BY time) TO '{target}' {kind}"
        _, rows = await _ask(query, archive, session, allow_files=True)
    told = {"events": rows[0][0], "file": str(file)}
    session.tell(told, f"{rows[0][0]:,} events written to {file}")
    return 0


@archive.command
async def sql(
    query: Annotated[str, Parameter(help="A query, such as `select count(*) from events`.")],
    *,
    archive: ArchiveUrl = "",
    allow_files: bool = False,
    session: Session = DEFAULT,
) -> int:
    """Query the archive with SQL: the table `events` has one row per archived event.

    Columns: partition, entry_id, time, job_id, seq, epoch, type, event (JSON).

    Parameters
    ----------
    allow_files
        Let the query read and write files, use the network and load extensions of DuckDB.
    """
    names, found = await _ask(query, archive, session, allow_files)
    rows = [dict(zip(names, row, strict=True)) for row in found]
    columns = {name: partial(cell, name=name) for name in names}
    session.show(rows, columns, as_json=json_row)
    return 0


async def _ask(
    query: str, archive: str, session: Session, allow_files: bool
) -> tuple[Sequence[str], Sequence[tuple[object, ...]]]:
    """Return the names and the rows that DuckDB answers with. Raises Refused, Misconfigured."""
    from everfold.archives.sql import ask

    async with session.log() as log:
        kept = await needed_archive(log, archive)
        return await ask(kept, range(log.keys.partitions), query, allow_files=allow_files)
