"""`everfold projector parked`: jobs that are not folded any more, and what to do about them."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from rich.table import Table

from everfold.commands.session import DEFAULT, Session
from everfold.commands.words import ago, console, emit, plain_table
from everfold.projector.folding.parking import ParkedJob, parked_jobs
from everfold.projector.folding.parking import retry as retry_job
from everfold.projector.folding.parking import skip as skip_event
from everfold.streams.appending.log import Log

FOLDED_WITHIN_S = 15.0


async def ls(*, session: Session = DEFAULT) -> int:
    """List parked jobs, the oldest first, with the event and the reason."""
    async with session.open() as everfold:
        found = await parked_jobs(everfold.log)
    if session.json:
        for job in found:
            emit(job)
    elif found:
        console.print(_table(found))
    else:
        console.print("no job is parked")
    return 0


def _table(found: Sequence[ParkedJob]) -> Table:
    table = plain_table({"job": 36, "event": 5, "entry": 16, "age": 6}, "why")
    for job in found:
        parked = job.parked
        why = parked.why + (" (to be folded again)" if parked.retry else "")
        event = str(parked.seq or "-")
        table.add_row(job.job_id, event, parked.entry_id, ago(parked.at_ms), why)
    return table


async def retry(job_id: str, *, session: Session = DEFAULT) -> int:
    """Fold a parked job again, as after an upgrade that can read its event.

    Exit code 1 when it was parked again.
    """
    async with session.open() as everfold:
        await retry_job(everfold.log, job_id)
        return await _report(everfold.log, job_id)


async def skip(job_id: str, *, session: Session = DEFAULT) -> int:
    """Fold a parked job on without the event that nobody can read, now and in every rebuild."""
    async with session.open() as everfold:
        await skip_event(everfold.log, job_id, "cli")
        return await _report(everfold.log, job_id)


async def _report(log: Log, job_id: str) -> int:
    """Wait until a projector has folded the job again, and say what came of it."""
    with anyio.move_on_after(FOLDED_WITHIN_S):
        while True:
            found = [job for job in await parked_jobs(log) if job.job_id == job_id]
            if not found:
                console.print(f"{job_id} is folded again", markup=False)
                return 0
            if not found[0].parked.retry:
                console.print(f"{job_id} is parked again: {found[0].parked.why}", markup=False)
                return 1
            await anyio.sleep(0.1)
    console.print(
        f"{job_id} will be folded again as soon as a projector runs (`everfold projector`)",
        markup=False,
    )
    return 0
