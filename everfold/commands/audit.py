"""`everfold audit verify`: prove that log, guards, dispatch and projection agree."""

from __future__ import annotations

import msgspec

from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.commands.words import console, emit
from projector.verify import Report
from projector.verify import verify as verify_namespace


async def verify(*, session: Session = DEFAULT) -> int:
    """Check every history, guard, lease and state of a live namespace; changes nothing.

    Exit code 1, and one line for each difference, when something is not as it must be.
    """
    async with session.open() as everfold:
        with event_progress("verify", session) as tell:
            # More are appended while it reads.
            report = await verify_namespace(
                everfold.log, lambda read, total: tell(read, max(read, total))
            )
    _tell(report, session)
    return 0 if report.is_sound else 1


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
