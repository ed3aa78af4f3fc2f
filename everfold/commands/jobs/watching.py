"""Showing jobs while they change."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from rich.console import RenderableType
from rich.live import Live

from everfold.client import Everfold, to_json
from everfold.commands.words import console, doing, emit, job_table
from everfold.projector.job.job import Job

REFRESH_S = 0.25


async def show_until_ended(everfold: Everfold, job_id: str, as_json: bool) -> Job:
    """Show one job's progress until it has ended; return it."""
    last = await everfold.get(job_id)
    if last.is_terminal:
        return last
    with Live(console=console, auto_refresh=False, transient=True) as live:
        async for job in everfold.watch(job_id):
            if as_json:
                emit(to_json(job))
            elif console.is_terminal:
                live.update(job_table([job]), refresh=True)
            elif (job.status, doing(job)) != (last.status, doing(last)):
                console.print(f"{job.job_id} {job.status} {job.progress:.0%} {doing(job)}")
            last = job
    return last


async def show_again_and_again(render: Callable[[], RenderableType]) -> None:
    """Redraw until cancelled."""
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            live.update(render(), refresh=True)
            await anyio.sleep(REFRESH_S)
