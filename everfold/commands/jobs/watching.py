"""Shows jobs while they change, and how they ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import anyio

from everfold.client import Everfold, to_json
from everfold.commands.formats import doing, job_columns, left
from everfold.commands.jobs.outputs import show_outputs
from everfold.commands.numbers import duration
from everfold.commands.output import complain, console, emit, is_terminal, say, table
from everfold.commands.session import Session
from everfold.durations import duration_text
from everfold.projector.job.job import Job
from everfold.projector.job.short_ids import short_ids
from everfold.projector.reading.queries import Page
from everfold.streams.errors import EverfoldError

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_S = 0.5
LATE_S = 0.5
"""A list that is further behind than a projector that works says so."""

Longest = Annotated[
    float | None,
    duration(
        "wait_timeout_s",
        "The longest time to wait; after it the exit code is 1, and what is waited for goes on. "
        "Default: no limit.",
    ),
]


def behind(page: Page) -> str:
    """Return the sentence that a list is not the present one."""
    late = f"this list is {page.behind_s:.1f} s behind: what changed since then is not shown"
    return f"{late}; does a projector run? (`everfold projector`)"


async def show_until_ended(everfold: Everfold, job_id: str, session: Session) -> int:
    """Show one job's progress until it has ended; return the exit code.

    With --json each state is one line. Raises JobUnknown.
    """
    job = await everfold.get(job_id)
    if job.is_terminal:
        return show_end(job, session)
    if session.json or not is_terminal():
        job = await _print_changes(everfold, job, session)
    else:
        job = await _draw_changes(everfold, job)
    return exit_code(job) if session.json else show_end(job, session)


@contextlib.contextmanager
def naming(job_id: str) -> Iterator[None]:
    """Name a job whose id nobody knows yet when Ctrl-C or an error ends the wait for it."""
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError, EverfoldError):
        waits, stops = f"`everfold jobs wait {job_id}`", f"`everfold jobs cancel {job_id}`"
        complain(f"job {job_id} goes on: {waits} waits for its end, {stops} stops it")
        raise


def say_that_it_goes_on(job_id: str, waited_s: float, session: Session) -> int:
    """Tell that a job has not ended in the time that somebody waited; return the exit code."""
    told = {"job_id": job_id, "ended": False, "waited_s": waited_s}
    session.tell(told, f"{job_id} has not ended in {duration_text(waited_s)}; it goes on")
    return 1


async def _print_changes(everfold: Everfold, last: Job, session: Session) -> Job:
    async for job in everfold.watch(last.job_id):
        if session.json:
            emit(to_json(job))
        elif (job.status, doing(job)) != (last.status, doing(last)):
            say(f"{job.job_id} {job.status} {job.progress:.0%} {doing(job)}{left(job)}")
        last = job
    return last


async def _draw_changes(everfold: Everfold, last: Job) -> Job:
    from rich.live import Live

    with Live(console=console(), auto_refresh=False, transient=True) as live:
        async for job in everfold.watch(last.job_id):
            live.update(_drawn([job]), refresh=True)
            last = job
    return last


async def watch_all(everfold: Everfold) -> None:
    """Draw the newest jobs again and again, until cancelled."""
    from rich.console import Group
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        while True:
            page = await everfold.list(limit=max(5, console().height - 4))
            late = behind(page) if page.behind_s > LATE_S else ""
            shown = _drawn(page.jobs) if page.jobs else "no jobs yet"
            live.update(Group(shown, late) if late else shown, refresh=True)
            await anyio.sleep(REFRESH_S)


def _drawn(jobs: list[Job]) -> RenderableType:
    short = short_ids(job.job_id for job in jobs)
    return table(jobs, job_columns(console().width, short), wrap=())


def show_end(job: Job, session: Session) -> int:
    """Print how a job ended, and its outputs; return the exit code, 0 only if it succeeded."""
    why = f": {job.error.message.strip()}" if job.error is not None else ""
    reason = f" ({job.reason})" if job.reason and not why else ""
    session.tell(to_json(job), f"{job.job_id} {job.status}{reason}{why}")
    if job.outputs and not session.json:
        show_outputs(job, session)
    return exit_code(job)


def exit_code(job: Job) -> int:
    return 0 if job.status == "succeeded" else 1
