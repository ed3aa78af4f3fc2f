"""`everfold audit verify`: proves that log, heads, dispatch and projection agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from everfold.archives.opening import known_archive, opened_archive
from everfold.commands.options import ArchiveUrl
from everfold.commands.output import complain, emit, say
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.diagnosis.server_changes import told_changes
from everfold.projector.reading.verify import Report
from everfold.projector.reading.verify import verify as verify_namespace
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.check import check_archive
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import CorruptLog, Misconfigured, Unavailable
from everfold.streams.redis.each import each

INCOMPLETE = 4
"""Exit code of what cannot reach a server."""


async def verify(*, archive: ArchiveUrl = "", session: Session = DEFAULT) -> int:
    """Check every history, head, lease and state of a live namespace; change nothing.

    The exit code is 1, with one line for each difference, when something is not as it must be; it
    is 4 when no difference was found, but some partitions do not answer, or the archive or what is
    noted of servers cannot be read.
    """
    given = opened_archive(archive)
    missing, unchecked = set[int](), list[str]()
    archived, wrong, changes = 0, list[str](), list[str]()
    async with session.log(role="auditor") as log:
        with event_progress("verify", session) as progress:
            # More are appended while it reads.
            report = await verify_namespace(
                log, lambda read, total: progress(read, max(read, total)), partial=True
            )
        missing.update(report.missing)
        with _or_noted("the archive", unchecked):
            if (kept := given or await known_archive(log)) is not None:
                archived, wrong = await _check_archive(log, kept, session, missing, unchecked)
        with _or_noted("the list of servers", unchecked):
            changes = await told_changes(log)
    if session.json:
        found = {"sound": report.is_sound, "server_changes": changes, "unchecked": unchecked}
        emit({**msgspec.to_builtins(report), **found})
        if archived or wrong:
            emit({"archived": archived, "wrong": wrong})
    else:
        _print_report(report, archived, wrong)
        for sentence in changes:
            say((sentence, "yellow"))
    if missing:
        named = ", ".join(map(str, sorted(missing)))
        complain(f"partitions {named} do not answer: what is in them was not checked")
    for sentence in unchecked:
        complain(sentence)
    return 1 if report.differences or wrong else INCOMPLETE if missing or unchecked else 0


@contextmanager
def _or_noted(what: str, unchecked: list[str]) -> Iterator[None]:
    """Note why something cannot be read: all else that was found is told nevertheless."""
    try:
        yield
    except (Unavailable, Misconfigured, CorruptLog) as error:
        unchecked.append(f"{what} was not checked to its end: {error}")


async def _check_archive(
    log: Log, kept: Archive, session: Session, missing: set[int], unchecked: list[str]
) -> tuple[int, list[str]]:
    """Return how many archived events were checked, and what is wrong with any of them.

    Partitions that are `missing` are left out; those that do not answer now join them, and
    what else keeps the archive from being read joins `unchecked`.
    """
    events, wrong = 0, dict[int, list[str]]()
    with event_progress("verify the archive", session) as progress:

        async def check(partition: int) -> None:
            nonlocal events
            async for checked in check_archive(log, kept, partition):
                if isinstance(checked, str):
                    wrong.setdefault(partition, []).append(checked)
                else:
                    events += checked
                    progress(events, events)

        asked = [p for p in range(log.keys.partitions) if p not in missing]
        outcomes = await each(log, check, asked, at_once=1)
        with _or_noted("the archive", unchecked):
            outcomes.some(missing)
    return events, [sentence for partition in sorted(wrong) for sentence in wrong[partition]]


def _print_report(report: Report, archived: int, wrong: list[str]) -> None:
    for difference in report.differences:
        say((str(difference), "red"))
    say(_sum(report))
    for sentence in wrong:
        say((sentence, "red"))
    if archived and not wrong:
        say(f"{archived:,} archived events: all as they were written")


def _sum(report: Report) -> str:
    events, jobs = quantity(report.events, "event"), quantity(report.jobs, "job")
    found = f"{events} of {jobs}, {report.open_jobs:,} of them open: "
    differences = len(report.differences)
    found += quantity(differences, "difference") if differences else "all as it must be"
    if report.unsettled:
        found += f"; {report.unsettled} changed during every look: run it again to check those"
    return found
