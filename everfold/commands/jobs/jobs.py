"""`everfold jobs ls|show|watch|wait|cancel|outputs`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.live import Live
from rich.table import Table

from everfold.client import Everfold, to_json
from everfold.commands.jobs.submit import tell_end
from everfold.commands.jobs.watching import REFRESH_S, show_until_ended
from everfold.commands.session import DEFAULT, Session
from everfold.commands.words import ago, console, emit, job_table, status
from everfold.projector.job.job import STATUSES, Job
from everfold.streams.errors import InvalidName

Statuses = Annotated[list[str] | None, Parameter(name="--status", negative="")]


async def ls(
    *,
    status: Statuses = None,
    user: str | None = None,
    kind: str | None = None,
    backend: str | None = None,
    newer_than: datetime | None = None,
    older_than: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
    session: Session = DEFAULT,
) -> None:
    """List jobs, the one with the newest event first.

    Parameters
    ----------
    status
        queued, running, canceling, succeeded, failed, canceled or expired; several times.
    user
        Only jobs of this user.
    kind
        Only jobs of this kind.
    backend
        Only jobs of this ComfyUI.
    newer_than
        Only jobs whose newest event came after this time.
    older_than
        Only jobs whose newest event came before this time.
    limit
        So many at most.
    cursor
        Given back from the last page, for the next one.
    """
    for name in status or []:
        if name not in STATUSES:
            raise InvalidName("--status", name, f"choose from {', '.join(STATUSES)}")
    async with session.open() as everfold:
        page = await everfold.list(
            statuses=status or (),
            user_id=user,
            kind=kind,
            backend=backend,
            newer_than=newer_than,
            older_than=older_than,
            cursor=cursor,
            limit=limit,
        )
    if session.json:
        for job in page.jobs:
            emit(to_json(job))
        return
    console.print(job_table(page.jobs) if page.jobs else "no jobs")
    if page.cursor:
        console.print(f"more: --cursor {page.cursor}", style="dim")


async def show(job_id: str, *, session: Session = DEFAULT) -> None:
    """Show all that is known of one job."""
    async with session.open() as everfold:
        job = await everfold.get(job_id)
    if session.json:
        emit(to_json(job))
    else:
        console.print(_sheet(job))


def _sheet(job: Job) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("status", status(job))
    for name, value in to_json(job).items():
        if value in (None, "", 0, {}, [], False, -1) or name in ("status", "promptId", "jobType"):
            continue
        if name.endswith("_at_ms") and isinstance(value, int):
            moment = datetime.fromtimestamp(value / 1000)
            value = f"{moment:%Y-%m-%d %H:%M:%S}  ({ago(value)} ago)"
        table.add_row(name.removesuffix("_ms") if name.endswith("_at_ms") else name, str(value))
    return table


async def watch(job_id: str | None = None, *, session: Session = DEFAULT) -> int | None:
    """Watch one job until it ends, or all jobs until Ctrl-C."""
    async with session.open() as everfold:
        if job_id is None:
            await _watch_all(everfold, session.json)
            return None
        job = await show_until_ended(everfold, job_id, session.json)
    if not session.json:
        tell_end(job)
    return 0 if job.status == "succeeded" else 1


async def _watch_all(everfold: Everfold, as_json: bool) -> None:
    if as_json:
        async with everfold.follow() as batches:
            async for batch in batches:
                for job_id in dict.fromkeys(record.job_id for record in batch):
                    emit(to_json(await everfold.get(job_id)))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            page = await everfold.list(limit=max(5, console.height - 4))
            live.update(job_table(page.jobs) if page.jobs else "no jobs yet", refresh=True)
            await anyio.sleep(REFRESH_S * 2)


async def wait(job_id: str, *, timeout: float | None = None, session: Session = DEFAULT) -> int:
    """Wait until a job has ended; exit code 0 only if it succeeded.

    Parameters
    ----------
    timeout
        Seconds; then exit code 1.
    """
    async with session.open() as everfold:
        try:
            job = await everfold.wait(job_id, timeout)
        except TimeoutError:
            console.print(f"{job_id} has not ended in {timeout:g} s")
            return 1
    if session.json:
        emit(to_json(job))
    else:
        tell_end(job)
    return 0 if job.status == "succeeded" else 1


async def cancel(job_id: str, *, reason: str = "", session: Session = DEFAULT) -> None:
    """Stop a job, wherever it is: waiting, queued in ComfyUI or running.

    Parameters
    ----------
    reason
        Why, for its history.
    """
    async with session.open() as everfold:
        job = await everfold.cancel(job_id, reason)
    if session.json:
        emit(to_json(job))
    elif job.status == "canceling":
        console.print(f"{job_id} canceling: its runner stops it and verifies that")
    else:
        console.print(f"{job_id} {job.status}")


async def give_up(job_id: str, *, session: Session = DEFAULT) -> None:
    """Give up the job's present attempt, whatever its backend says.

    Its runner records the attempt as lost, stops the prompt as soon as it can, and tries the job
    again where its policy allows. `jobs cancel` ends the job instead.
    """
    async with session.open() as everfold:
        job = await everfold.give_up(job_id)
    if session.json:
        emit(to_json(job))
    else:
        console.print(f"{job_id}: attempt {job.attempt} is to be given up", markup=False)


async def outputs(job_id: str, *, session: Session = DEFAULT) -> None:
    """Print what the job's output nodes delivered."""
    async with session.open() as everfold:
        found = await everfold.outputs(job_id)
    if session.json:
        emit(found)
        return
    for node, output in found.items():
        for kind, values in output.items():
            for value in values if isinstance(values, list) else [values]:
                console.print(f"node {node}  {kind}  {_place(value)}", markup=False)
    if not found:
        console.print("no outputs yet")


def _place(value: object) -> str:
    if not isinstance(value, dict) or "filename" not in value:
        return str(value)
    parts = (value.get("type"), value.get("subfolder"), value["filename"])
    return "/".join(str(part) for part in parts if part)
