"""`everfold batches`: many jobs that were submitted with one name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import anyio
from cyclopts import App, Parameter

from everfold.client import Everfold
from everfold.commands.formats import STYLES, span
from everfold.commands.jobs.many import act_on_many
from everfold.commands.jobs.watching import LATE_S, Longest
from everfold.commands.numbers import at_most, number
from everfold.commands.output import Cell, Part, complain, say
from everfold.commands.session import DEFAULT, Session
from everfold.many_jobs import BatchProgress
from everfold.projector.job.job import OPEN_STATUSES
from everfold.projector.job.job_filter import JobFilter
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import Unknown

Name = Annotated[str, Parameter(help="The batch's name, as `submit --batch` was given it.")]
batches = App(name="batches", help="List, show, wait for and cancel batches of jobs.")


@batches.command
async def ls(
    *,
    after: Annotated[str, Parameter(help="Only batches whose names come after this one.")] = "",
    limit: Annotated[int, number("limit", "The most batches to list.")] = 50,
    session: Session = DEFAULT,
) -> None:
    """List batches in the order of their names, with how far they are.

    A batch is listed as long as the state of one of its jobs is kept, by default 2 h after its end.
    """
    async with session.open("reader") as everfold:
        names = await everfold.batches(after, limit)
        found = [await everfold.batch(name).progress() for name in names]
        is_more = len(names) == limit and bool(await everfold.batches(names[-1], 1))
    columns: dict[str, Callable[[BatchProgress], Cell]] = {
        "batch": lambda one: one.batch,
        "done": lambda one: f"{one.ended:,}/{one.total:,}",
        "%": lambda one: f"{one.percent:3.0f}",
        "left": _left,
        "jobs": _counts,
    }
    session.show(found, columns, empty="no batches")
    if is_more:
        session.tell_more(f"--after {names[-1]}")


def _left(one: BatchProgress) -> str:
    return "-" if one.left_s is None else f"~{span(one.left_s)}"


def _counts(one: BatchProgress) -> str:
    return ", ".join(f"{status} {count:,}" for status, count in one.by_status.items())


async def _known(everfold: Everfold, name: str) -> BatchProgress:
    """Return the progress of a batch. Raises Unknown where there is no job of it."""
    progress = await everfold.batch(name).progress()
    if not progress.total:
        raise Unknown(f"no job of the batch {name!r} is known")
    return progress


@batches.command
async def show(name: Name, *, session: Session = DEFAULT) -> None:
    """Show how far a batch is. `everfold jobs ls --batch NAME` lists its jobs."""
    async with session.open("reader") as everfold:
        progress = await _known(everfold, name)
    if session.json:
        session.tell(progress)
        return
    _say(progress)
    for status, count in progress.by_status.items():
        part: Part = (f"  {status:<10}", STYLES.get(status, ""))
        say(part, f"{count:,}")
    if progress.behind_s > LATE_S:
        complain(f"this is {progress.behind_s:.1f} s behind; does a projector run?")


def _say(progress: BatchProgress) -> None:
    left = f", about {span(progress.left_s)} left" if progress.left_s is not None else ""
    done = f"{progress.ended:,} of {quantity(progress.total, 'job')} ended"
    say(f"{progress.batch}: {done}, {progress.percent:.0f} %{left}")


@batches.command
async def wait(name: Name, *, timeout: Longest = None, session: Session = DEFAULT) -> int:
    """Wait until all jobs of a batch have ended; exit code 0 only if all succeeded.

    It needs a projector.
    """
    async with session.open("reader") as everfold:
        last = await _known(everfold, name)
        with anyio.move_on_after(timeout):
            while last.behind_s or not last.is_over:
                await anyio.sleep(LATE_S)
                progress = await everfold.batch(name).progress()
                if progress.by_status != last.by_status and not progress.is_over:
                    session.tell(progress, f"{name}: {_counts(progress)}")
                last = progress
    if session.json:
        session.tell(last)
    else:
        say(f"{name}: {_counts(last)}" + ("" if last.is_over else "; not all have ended"))
    return 0 if last.by_status == {"succeeded": last.total} else 1


@batches.command
async def cancel(
    name: Name,
    *,
    reason: Annotated[str, at_most("reason", "The reason, for the jobs' histories.")] = "",
    yes: Annotated[bool, Parameter(help="Cancel them, and do not ask.")] = False,
    session: Session = DEFAULT,
) -> int:
    """Stop all open jobs of a batch. Without --yes they are only counted and shown."""
    async with session.open("client") as everfold:
        await _known(everfold, name)
        return await act_on_many(
            everfold,
            "cancel",
            JobFilter(batch=name, statuses=OPEN_STATUSES),
            lambda found: everfold.cancel_many(found, reason),
            session,
            yes,
        )
