"""A progress bar over events: how many of how many, how fast, how long still."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from everfold.commands.session import Session
from everfold.commands.words import console


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


@contextlib.contextmanager
def event_progress(doing: str, session: Session) -> Iterator[Callable[[int, int], None]]:
    """Yield what to call with the events done and the events in all."""
    name = TextColumn("{task.description}")
    rest = (MofNCompleteColumn(), TextColumn("events"), _Rate(), TimeRemainingColumn())
    quiet = session.json or not console.is_terminal
    with Progress(name, BarColumn(), *rest, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
