"""`everfold demo`: see jobs survive `kill -9`, on a machine with nothing but Python."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec

from everfold.client import Everfold
from everfold.commands.formats import bar, doing, percent, status
from everfold.commands.options import Json
from everfold.commands.output import Part, console, emit, is_terminal, say, styled, table
from everfold.commands.process.process import INTERRUPTED, ending_signals
from everfold.demo.jobs import BLUR
from everfold.demo.processes import DemoProcesses, assets_of, demo_processes
from everfold.demo.run import Demo
from everfold.demo.summary import Summary
from everfold.embedded import embedded_server
from everfold.projector.job.job import Job
from everfold.streams.errors import Unavailable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

NAMESPACE = "demo"
REFRESH_S = 0.1


async def demo(*, folder: Path | None = None, json: Json = False) -> int:
    """See thirteen jobs survive the kill -9 of a runner and the loss of a ComfyUI.

    Starts its own embedded server, two unlike simulators of ComfyUI, a projector and two runners.
    Two users submit jobs; a runner is killed, a server drained, and a server killed for good. Takes
    about 30 seconds. The exit code is 0 only if no job was lost or executed twice, and each ran
    where it may. With --json the last line is the summary.

    Parameters
    ----------
    folder
        The folder for the pictures. Default: a new temporary one.
    """
    place = folder or Path(tempfile.mkdtemp(prefix="everfold-demo-"))
    place.mkdir(parents=True, exist_ok=True)
    summary = await _played_until_signal(place, json)
    if summary is None:
        return INTERRUPTED
    if json:
        emit({**msgspec.to_builtins(summary), "ok": summary.is_good})
    else:
        for line in _lines(summary):
            say(*line)
    return 0 if summary.is_good else 1


async def _played_until_signal(place: Path, json: bool) -> Summary | None:
    """Play the demo; after a signal end all of its processes, and return None."""
    summary = None
    async with anyio.create_task_group() as tasks, ending_signals(signal.SIGHUP) as signals:

        async def obey() -> None:
            await anext(signals)
            tasks.cancel_scope.cancel()

        tasks.start_soon(obey)
        summary = await _played(place, json)
        tasks.cancel_scope.cancel()
    return summary


async def _played(place: Path, json: bool) -> Summary:
    async with (
        embedded_server(place / "redis") as server,
        Everfold.connect(server.url, namespace=NAMESPACE, assets=assets_of(place)) as everfold,
        demo_processes(server.url, NAMESPACE, place) as processes,
    ):
        return await Show(everfold, processes, place, json=json).run()


class Show:
    """The live picture of a demo: a table in a terminal, plain lines elsewhere."""

    def __init__(
        self, everfold: Everfold, processes: DemoProcesses, folder: Path, *, json: bool
    ) -> None:
        self._demo = Demo(everfold, processes, folder, self._say)
        self._json = json
        self._is_drawn = is_terminal() and not json
        self._started_s = time.monotonic()
        self._said: list[tuple[Part, ...]] = []

    async def run(self) -> Summary:
        """Raises Unavailable when a process does not start, or the demo does not end."""
        try:
            summary = await (self._play_live() if self._is_drawn else self._demo.run())
        except* TimeoutError as slow:
            raise Unavailable("the demo has not ended in time; is the machine very busy?") from slow
        except* Unavailable as errors:
            raise errors.exceptions[0] from None
        return summary

    async def _play_live(self) -> Summary:
        from rich.live import Live

        with Live(console=console(), auto_refresh=False) as live:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._redraw, live)
                summary = await self._demo.run()
                tasks.cancel_scope.cancel()
            live.update(self._picture(), refresh=True)
        return summary

    def _say(self, text: str) -> None:
        after_s = time.monotonic() - self._started_s
        line = ((f"{after_s:5.1f} s  ", "dim"), text)
        self._said.append(line)
        if self._json:
            emit({"after_s": round(after_s, 1), "what": text})
        elif not self._is_drawn:
            say(*line)

    async def _redraw(self, live: Live) -> None:
        while True:
            live.update(self._picture(), refresh=True)
            await anyio.sleep(REFRESH_S)

    def _picture(self) -> RenderableType:
        from rich.console import Group

        columns = {
            "job": self._demo.name_of,
            "status": status,
            "progress": bar,
            "%": percent,
            "ComfyUI": self._demo.server_of,
            "runner": _runner,
            "doing": doing,
        }
        jobs = table(self._demo.jobs, columns, wrap=())
        return Group(*(styled(*line) for line in self._said), "", jobs)


def _runner(job: Job) -> Part:
    if job.losses:
        return ("began anew", "bold yellow")
    name = job.owner.partition("-")[0]
    return (f"{name} took over".strip(), "bold yellow") if job.recovered else name


def _lines(summary: Summary) -> Iterator[tuple[Part, ...]]:
    seen = summary.seen
    rows = (
        (summary.submitted, "submitted"),
        (summary.succeeded, "succeeded"),
        (summary.images, f"pictures stored, and saved in {summary.outputs}"),
        (summary.failed, "failed, each with its reason: one graph invalid, one node gave up"),
        (summary.canceled, "canceled"),
        (summary.recovered, f"recovered after kill -9, the first after {summary.recovery_s} s"),
        (summary.moved, "begun anew elsewhere, because their ComfyUI never came back"),
        (seen.before_bob, "of ada's 11 jobs sent before bob's, which was submitted last"),
        (seen.blurred, f"jobs with the node {BLUR} at fast, {seen.blurred_elsewhere} elsewhere"),
        (seen.while_drained, "sent to the drained server"),
        (summary.executed_twice, "executed twice"),
        (summary.lost, "lost"),
    )
    yield ("",)
    for count, words in rows:
        yield (f"{count:>4}", "bold"), f"  {words}"
    yield ("      those of a job of yours: everfold jobs outputs JOB --to FOLDER",)
    end = "all as it should be" if summary.is_good else "NOT as it should be"
    yield ((f"      {end}, in {summary.seconds} s", "green" if summary.is_good else "red"),)
