"""A progress bar over events: how many of how many, how fast, how long still."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from everfold.commands.output import console, is_terminal
from everfold.commands.session import Session


@contextlib.contextmanager
def event_progress(doing: str, session: Session) -> Iterator[Callable[[int, int], None]]:
    """Yield what to call with the events done and the events in all."""
    if session.json or not is_terminal():
        yield lambda done, total: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    rate = TextColumn("events {task.fields[rate]}")
    with Progress(
        *columns, rate, TimeRemainingColumn(), console=console(), transient=True
    ) as progress:
        task = progress.add_task(doing, total=None, rate="")

        def update(done: int, total: int) -> None:
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            rate = "" if speed is None else f"{speed:,.0f}/s"
            progress.update(task, completed=done, total=total, rate=rate)

        yield update
