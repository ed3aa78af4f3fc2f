"""`everfold demo`: see a job survive `kill -9`, on a machine with nothing but Python."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from everfold.client import Everfold
from everfold.commands.words import console, doing, emit, plain_table, status
from everfold.demo.processes import DemoProcesses, demo_processes
from everfold.demo.run import Demo
from everfold.demo.summary import Summary
from everfold.embedded import embedded_server
from everfold.projector.job.job import Job
from everfold.streams.errors import Unavailable

NAMESPACE = "demo"
REFRESH_S = 0.1


async def demo(
    *,
    folder: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Twelve jobs, two runners, one of them killed: nothing is lost, nothing runs twice.

    Starts an embedded server, a stand-in for ComfyUI, a projector and two runners, all of its
    own; about 20 seconds. Exit code 0 only if no job was lost or executed twice.

    Parameters
    ----------
    folder
        Where the images go; a new temporary folder if not given.
    json
        Print the summary as one JSON object on the last line.
    """
    place = folder or Path(tempfile.mkdtemp(prefix="everfold-demo-"))
    place.mkdir(parents=True, exist_ok=True)
    async with (
        embedded_server(place / "redis") as server,
        Everfold.connect(server.url, namespace=NAMESPACE) as everfold,
        demo_processes(server.url, NAMESPACE, place) as processes,
    ):
        summary = await Show(everfold, processes, place).run()
    if json:
        emit({**msgspec.to_builtins(summary), "ok": summary.is_good})
    else:
        console.print(_words(summary))
    return 0 if summary.is_good else 1


class Show:
    """The live picture of a demo: a table in a terminal, plain lines elsewhere."""

    def __init__(self, everfold: Everfold, processes: DemoProcesses, folder: Path) -> None:
        self._demo = Demo(everfold, processes, folder, self._say)
        self._started_s = time.monotonic()
        self._said: list[Text] = []

    async def run(self) -> Summary:
        """Raises Unavailable when a process does not start, or the demo does not end."""
        try:
            if not console.is_terminal:
                return await self._demo.run()
            with Live(console=console, auto_refresh=False) as live:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._redraw, live)
                    summary = await self._demo.run()
                    tasks.cancel_scope.cancel()
                live.update(self._picture(), refresh=True)
        except* TimeoutError as slow:
            raise Unavailable("the demo has not ended in time; is the machine very busy?") from slow
        except* Unavailable as errors:
            raise errors.exceptions[0] from None
        return summary

    def _say(self, text: str) -> None:
        line = Text(f"{time.monotonic() - self._started_s:5.1f} s  ", "dim").append(text, "default")
        self._said.append(line)
        if not console.is_terminal:
            console.print(line)

    async def _redraw(self, live: Live) -> None:
        while True:
            live.update(self._picture(), refresh=True)
            await anyio.sleep(REFRESH_S)

    def _picture(self) -> RenderableType:
        return Group(*self._said, Text(), self._table(self._demo.jobs))

    def _table(self, jobs: list[Job]) -> Table:
        table = plain_table({"job": 10, "status": 9, "progress": 24, "": 4, "runner": 15}, "doing")
        for job in jobs:
            taken = Text(" taken over", "bold yellow") if job.recovered else Text()
            table.add_row(
                self._demo.name_of(job),
                status(job),
                ProgressBar(total=1.0, completed=job.progress, width=24),
                f"{job.progress:4.0%}",
                Text(job.owner.partition("-")[0]).append_text(taken),
                doing(job),
            )
        return table


def _words(summary: Summary) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="bold")
    table.add_column()
    rows: list[tuple[object, str]] = [
        ("", ""),
        (summary.submitted, "submitted"),
        (summary.succeeded, f"succeeded: {summary.images} images in {summary.outputs}"),
        (summary.failed, "failed, each with its reason: one graph invalid, one node gave up"),
        (summary.canceled, "canceled"),
        (summary.recovered, f"recovered after kill -9, the first after {summary.recovery_s} s"),
        (summary.executed_twice, "executed twice"),
        (summary.lost, "lost"),
    ]
    for count, words in rows:
        table.add_row(str(count), words)
    end = "all as it should be" if summary.is_good else "NOT as it should be"
    table.add_row("", Text(f"{end}, in {summary.seconds} s", "green" if summary.is_good else "red"))
    return table
