"""`everfold audit verify`: proves that log, heads, dispatch and projection agree."""

from __future__ import annotations

import msgspec

from everfold.archives.opening import known_archive
from everfold.commands.options import ArchiveUrl
from everfold.commands.output import emit, say
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.diagnosis.server_changes import told_changes
from everfold.projector.reading.verify import Report
from everfold.projector.reading.verify import verify as verify_namespace
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.check import check_archive


async def verify(*, archive: ArchiveUrl = "", session: Session = DEFAULT) -> int:
    """Check every history, head, lease and state of a live namespace; change nothing.

    The exit code is 1, with one line for each difference, when something is not as it must be.
    """
    async with session.log(role="auditor") as log:
        with event_progress("verify", session) as progress:
            # More are appended while it reads.
            report = await verify_namespace(
                log, lambda read, total: progress(read, max(read, total))
            )
        kept = await known_archive(log, archive)
        archived, wrong = await _check_archive(log, kept, session) if kept else (0, [])
        changes = await told_changes(log)
    if session.json:
        found = {"sound": report.is_sound, "server_changes": changes}
        emit({**msgspec.to_builtins(report), **found})
        if archived or wrong:
            emit({"archived": archived, "wrong": wrong})
    else:
        _print_report(report, archived, wrong)
        for sentence in changes:
            say((sentence, "yellow"))
    return 0 if report.is_sound and not wrong else 1


async def _check_archive(log: Log, kept: Archive, session: Session) -> tuple[int, list[str]]:
    """Return how many archived events were checked, and what is wrong with any of them."""
    events, wrong = 0, list[str]()
    with event_progress("verify the archive", session) as progress:
        for partition in range(log.keys.partitions):
            async for checked in check_archive(log, kept, partition):
                if isinstance(checked, str):
                    wrong.append(checked)
                else:
                    events += checked
                    progress(events, events)
    return events, wrong


def _print_report(report: Report, archived: int, wrong: list[str]) -> None:
    for difference in report.differences:
        say((str(difference), "red"))
    say(_sum(report))
    for sentence in wrong:
        say((sentence, "red"))
    if archived and not wrong:
        say(f"{archived:,} archived events: all as they were written")


def _sum(report: Report) -> str:
    found = f"{report.events:,} events of {report.jobs:,} jobs, {report.open_jobs:,} of them open: "
    found += "all as it must be" if report.is_sound else f"{len(report.differences)} difference(s)"
    if report.unsettled:
        found += f"; {report.unsettled} changed during every look: run it again to check those"
    return found
