"""`everfold audit verify`: prove that log, heads, dispatch and projection agree."""

from __future__ import annotations

import msgspec

from everfold.archives.opening import known_archive
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.commands.stream.archive import Place
from everfold.commands.words import console, emit
from everfold.projector.reading.verify import Report
from everfold.projector.reading.verify import verify as verify_namespace
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.check import check_archive


async def verify(*, archive: Place = "", session: Session = DEFAULT) -> int:
    """Check every history, head, lease and state of a live namespace; changes nothing.

    Exit code 1, and one line for each difference, when something is not as it must be.
    """
    async with session.open() as everfold:
        with event_progress("verify", session) as tell:
            # More are appended while it reads.
            report = await verify_namespace(
                everfold.log, lambda read, total: tell(read, max(read, total))
            )
        kept = await known_archive(everfold.log, archive)
        archived, wrong = await _check_archive(everfold.log, kept, session) if kept else (0, [])
    _tell(report, session)
    _tell_archive(archived, wrong, session)
    return 0 if report.is_sound and not wrong else 1


async def _check_archive(log: Log, kept: Archive, session: Session) -> tuple[int, list[str]]:
    """Return how many archived events were checked, and what is wrong with any of them."""
    events, wrong = 0, list[str]()
    with event_progress("verify the archive", session) as tell:
        for partition in range(log.keys.partitions):
            async for told in check_archive(log, kept, partition):
                if isinstance(told, str):
                    wrong.append(told)
                else:
                    events += told
                    tell(events, events)
    return events, wrong


def _tell_archive(archived: int, wrong: list[str], session: Session) -> None:
    if session.json:
        if archived or wrong:
            emit({"archived": archived, "wrong": wrong})
        return
    for sentence in wrong:
        console.print(sentence, style="red", markup=False)
    if archived and not wrong:
        console.print(f"{archived:,} archived events: all as they were written")


def _tell(report: Report, session: Session) -> None:
    if session.json:
        emit({**msgspec.to_builtins(report), "sound": report.is_sound})
        return
    for difference in report.differences:
        console.print(str(difference), style="red", markup=False)
    console.print(_sum(report))


def _sum(report: Report) -> str:
    found = f"{report.events:,} events of {report.jobs:,} jobs, {report.open_jobs:,} of them open: "
    found += "all as it must be" if report.is_sound else f"{len(report.differences)} difference(s)"
    if report.unsettled:
        found += f"; {report.unsettled} changed during every look: run it again to check those"
    return found
