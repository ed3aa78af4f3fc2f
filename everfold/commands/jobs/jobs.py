"""`everfold jobs ls|show|watch|wait|cancel|rerun|give-up|outputs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from everfold.assets.sizes import size_text
from everfold.client import Everfold, to_json
from everfold.commands.formats import ago, job_columns, status
from everfold.commands.jobs.many import (
    act_on_many,
    cancel_one,
    changes_of,
    check_choice_of_jobs,
    rerun_one,
    with_statuses,
)
from everfold.commands.jobs.outputs import outputs
from everfold.commands.jobs.reasons import sentence_of, telling_why
from everfold.commands.jobs.selecting import EVERY_JOB, Selection
from everfold.commands.jobs.waiting import priority, why
from everfold.commands.jobs.watching import (
    LATE_S,
    Longest,
    behind,
    say_that_it_goes_on,
    show_end,
    show_until_ended,
    watch_all,
)
from everfold.commands.numbers import at_most, number
from everfold.commands.options import AnyJobId, JobId, chosen
from everfold.commands.output import Part, complain, console, emit, is_terminal, say_wrapped
from everfold.commands.session import DEFAULT, Session
from everfold.many_jobs import RERUN_STATUSES
from everfold.operations import BackendStatus
from everfold.projector.job.job import OPEN_STATUSES, Job
from everfold.projector.job.short_ids import short_ids
from everfold.projector.reading.queries import Page
from everfold.streams.errors import CorruptLog, Unknown

OneJobId = Annotated[
    str | None,
    chosen("The job's id, or a part of it as for `jobs show`. Or select jobs by options."),
]
Yes = Annotated[bool, Parameter(help="Do it to all jobs that are selected, and do not ask.")]
SHOWN_LINES = 8
"""Of a traceback, its last ones; --json shows all that is kept."""

Reason = Annotated[str, at_most("reason", "The reason, for the job's history.")]

jobs = App(
    name="jobs", help="List, show, explain, watch, wait for, cancel, rerun and give up jobs."
)
jobs.command(outputs)
jobs.command(why)
jobs.command(priority)


@jobs.command
async def ls(
    *,
    which: Selection = EVERY_JOB,
    limit: Annotated[int, number("limit", "The most jobs to list.")] = 50,
    cursor: str | None = None,
    session: Session = DEFAULT,
) -> None:
    """List jobs, those with the newest events first.

    Open jobs are always listed, others as long as the projector keeps their state, by default 2 h
    after their end. A terminal with little room shows the ends of ids, which every command takes.

    Parameters
    ----------
    cursor
        The cursor that the page before ended with, for the next page.
    """
    selects = which.filter()
    async with session.open("reader") as everfold:
        page = await everfold.page(selects, cursor, limit, partial=True)
    width = console().width if is_terminal() and not session.json else 0
    columns = job_columns(width, short_ids(job.job_id for job in page.jobs))
    session.show(page.jobs, columns, empty=_none(page), wrap=(), as_json=to_json)
    if page.behind_s > (LATE_S if page.jobs else 0):
        complain(behind(page))
    if page.is_unindexed:
        complain(
            "every job was looked at: the index does not have this yet; run `everfold projector "
            "rebuild` once"
        )
    if page.missing:
        named = ", ".join(map(str, page.missing))
        complain(f"partitions {named} do not answer: their jobs are missing here")
    for key in page.unread:
        complain(f"{key} cannot be read, its jobs may be missing; see `everfold doctor`")
    if page.cursor:
        session.tell_more(f"--cursor {page.cursor}")


def _none(page: Page) -> str:
    """Return what is said instead of a list without jobs."""
    if page.cursor:
        return "no such job so far"
    return "no jobs" if not page.behind_s else "no jobs that a projector has seen"


@jobs.command
async def show(job_id: JobId, *, session: Session = DEFAULT) -> None:
    """Show all that is known of one job."""
    async with session.open("reader") as everfold:
        job = await everfold.get(await everfold.find(job_id))
        seen = [] if session.json else await everfold.backends()
        why = "" if session.json else await sentence_of(everfold, job)
    if session.json:
        emit(to_json(job))
        return
    fields = list(_fields(job, _title_of(job, seen), why))
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        say_wrapped((f"{name:<{width}}  ", "dim"), value)


def _title_of(job: Job, seen: Sequence[BackendStatus]) -> str:
    """Return what people call the job's backend, empty for nothing."""
    for one in seen:
        is_known = job.server and one.server
        if one.title and (one.server == job.server if is_known else one.name == job.backend):
            return one.title
    return ""


def _fields(job: Job, title: str, why: str) -> Iterator[tuple[str, Part]]:
    yield "status", status(job)
    if why:
        yield "why", why
    for name, value in to_json(job).items():
        if not value or value == -1 or name in ("status", "promptId", "jobType", "userId"):
            continue
        if name.endswith("_at_ms") and isinstance(value, int):
            time = datetime.fromtimestamp(value / 1000)
            yield name.removesuffix("_ms"), f"{time:%Y-%m-%d %H:%M:%S}  ({ago(value)} ago)"
        elif name == "backend" and title:
            yield name, f"{title}  {value}"
        elif name == "inputs":
            for place, one in job.inputs.items():
                size = size_text(one.size_bytes)
                yield "input", f"{place}  {one.name}  {size}  everfold:{one.asset}"
        elif name == "error" and job.error is not None:
            yield name, _json(msgspec.structs.replace(job.error, traceback=msgspec.UNSET))
            for line in (job.error.traceback or "").splitlines()[-SHOWN_LINES:]:
                yield "traceback", line
        else:
            yield name, value if isinstance(value, str) else _json(value)


@jobs.command
async def watch(
    job_id: AnyJobId = None,
    *,
    session: Session = DEFAULT,
) -> int:
    """Watch one job until it ends, or all jobs until Ctrl-C."""
    async with session.open("reader") as everfold:
        if job_id is not None:
            found = await everfold.find(job_id)
            return await show_until_ended(everfold, found, session)
        if session.json:
            await _print_all(everfold)
        else:
            await watch_all(everfold)
    return 0


async def _print_all(everfold: Everfold) -> None:
    async with everfold.follow() as batches:
        async for batch in batches:
            for job_id in dict.fromkeys(record.job_id for record in batch if record.job_id):
                try:
                    emit(to_json(await everfold.get(job_id)))
                except (CorruptLog, Unknown) as error:
                    complain(str(error))


@jobs.command
async def wait(job_id: JobId, *, timeout: Longest = None, session: Session = DEFAULT) -> int:
    """Wait until a job has ended; exit code 0 only if it succeeded."""
    async with session.open("reader") as everfold:
        job_id = await everfold.find(job_id)
        try:
            async with telling_why(everfold, job_id, session):
                job = await everfold.wait(job_id, timeout)
        except TimeoutError:
            return say_that_it_goes_on(job_id, timeout or 0, session)
    return show_end(job, session)


@jobs.command
async def cancel(
    job_id: OneJobId = None,
    *,
    which: Selection = EVERY_JOB,
    reason: Reason = "",
    yes: Yes = False,
    session: Session = DEFAULT,
) -> int:
    """Stop a job, whether it waits, is queued in ComfyUI or runs; or many jobs.

    Jobs that options select are counted and shown first, and stopped with --yes, or when you agree
    at a terminal. Without --status these are open jobs. A repeat goes on where it was interrupted.
    The exit code is 1 if something was refused.
    """
    check_choice_of_jobs(job_id, which, "cancel")
    selects = which.filter()
    async with session.open("client") as everfold:
        if job_id:
            return await cancel_one(everfold, job_id, reason, session)
        selects = with_statuses(selects, OPEN_STATUSES)
        return await act_on_many(
            everfold,
            "cancel",
            selects,
            lambda found: everfold.cancel_many(found, reason),
            session,
            yes,
        )


@jobs.command
async def rerun(
    job_id: OneJobId = None,
    *,
    which: Selection = EVERY_JOB,
    set_: Annotated[list[str] | None, Parameter(name="--set")] = None,
    yes: Yes = False,
    session: Session = DEFAULT,
) -> int:
    """Submit a job that has ended once more, as a new job; or many jobs.

    The new job has the graph, metadata, policy, queue, batch and tags of the old one. Jobs that
    options select are counted and shown first, and run again with --yes, or when you agree at a
    terminal. Without --status these are jobs that failed or expired. Each is run again once,
    however often this is repeated. The exit code is 1 if something was refused.

    Parameters
    ----------
    set_
        Change an input of the graph: NODE.INPUT=VALUE, of the type that the graph has there.
        Repeat the option for more.
    """
    check_choice_of_jobs(job_id, which, "rerun")
    changes, selects = changes_of(set_), which.filter()
    async with session.open("client") as everfold:
        if job_id:
            await rerun_one(everfold, job_id, changes, session)
            return 0
        selects = with_statuses(selects, RERUN_STATUSES)
        return await act_on_many(
            everfold,
            "rerun",
            selects,
            lambda found: everfold.rerun_many(found, changes),
            session,
            yes,
        )


@jobs.command
async def give_up(job_id: JobId, *, session: Session = DEFAULT) -> None:
    """Give up a job's present attempt, whatever its backend says.

    Its runner records the attempt as lost, stops the prompt as soon as it can, and tries the job
    again if its policy allows. `jobs cancel` ends the job instead.
    """
    async with session.operate() as everfold:
        job_id = await everfold.find(job_id)
        job = await everfold.give_up(job_id)
    session.tell(to_json(job), f"{job_id}: attempt {job.attempt} is to be given up")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
