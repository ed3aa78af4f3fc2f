"""`everfold demo`: see jobs survive `kill -9`, on a machine with nothing but Python."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, Protocol, TypeVar

import anyio
import msgspec

from everfold.client import Everfold
from everfold.commands.formats import bar, doing, percent, status
from everfold.commands.numbers import number
from everfold.commands.options import Json
from everfold.commands.output import Part, console, emit, is_terminal, say, table
from everfold.commands.process.process import INTERRUPTED, ending_signals
from everfold.demo.console import show_in_browser, start_console
from everfold.demo.failover import Failover, FailoverSummary
from everfold.demo.jobs import BLUR
from everfold.demo.processes import assets_of, demo_processes
from everfold.demo.run import Demo
from everfold.demo.service import sentinel_service
from everfold.demo.summary import Summary
from everfold.embedded import embedded_server
from everfold.embedded.data_folder import DataFolder
from everfold.embedded.resolve import choose_engine
from everfold.projector.job.job import Job
from everfold.streams.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

NAMESPACE = "demo"
REFRESH_S = 0.1

SHOWN = 14
"""Rows of the table, at most."""

S = TypeVar("S", Summary, FailoverSummary)
S_co = TypeVar("S_co", covariant=True)


class Course(Protocol[S_co]):
    """What happens in a demo, and the jobs that are to be seen meanwhile."""

    @property
    def jobs(self) -> list[Job]: ...

    def name_of(self, job: Job) -> str: ...

    def server_of(self, job: Job) -> str: ...

    async def run(self) -> S_co: ...


async def demo(
    *,
    folder: Path | None = None,
    failover: bool = False,
    console: bool = False,
    port: Annotated[
        int, number("port", "With --console: the port of the gateway; 0 picks a free one.")
    ] = 0,
    json: Json = False,
) -> int:
    """See thirteen jobs survive the kill -9 of a runner and the loss of a ComfyUI.

    Starts its own embedded server, two unlike simulators of ComfyUI, a projector and two runners.
    Two users submit jobs; a runner is killed, a server drained, and a server killed for good. Takes
    about 30 seconds. The exit code is 0 only if no job was lost or executed twice, and each ran
    where it may. With --json the last line is the summary.

    With --failover it starts a primary, two replicas and three Sentinels instead, submits jobs all
    the time, and kills the primary in the middle: the table goes on, and the end says how many
    submits were acknowledged, lost or run twice, and for how long no write was.

    With --console a gateway serves the console over it; afterwards it stays until Ctrl-C.

    Parameters
    ----------
    folder
        The folder for the pictures. Default: a new temporary one.
    failover
        Kill the primary of a Sentinel service in mid-run, and count what is acknowledged and lost.
    console
        Serve the console over it, open it in a browser where there is one, and stay until Ctrl-C.
    """
    if console and failover:
        raise Misconfigured("--console shows the demo without --failover: leave one of them out")
    place = folder or Path(tempfile.mkdtemp(prefix="everfold-demo-"))
    place.mkdir(parents=True, exist_ok=True)
    ended: list[Summary | FailoverSummary] = []

    def tell(summary: Summary | FailoverSummary) -> None:
        ended.append(summary)
        _tell(summary, json=json)

    if console:
        await _played_until_signal(partial(_played_in_console, place, json, port, tell))
    else:
        play = _played_failover if failover else _played
        summary = await _played_until_signal(partial(play, place, json))
        if summary is not None:
            tell(summary)
    if not ended:
        return INTERRUPTED
    return 0 if ended[0].is_good else 1


def _tell(summary: Summary | FailoverSummary, *, json: bool) -> None:
    if json:
        emit({**msgspec.to_builtins(summary), "ok": summary.is_good})
    else:
        for line in _lines(summary):
            say(*line)


async def _played_until_signal(
    play: Callable[[], Awaitable[Summary | FailoverSummary]],
) -> Summary | FailoverSummary | None:
    """Play the demo; after a signal end all of its processes, and return None."""
    summary = None
    async with anyio.create_task_group() as tasks, ending_signals(signal.SIGHUP) as signals:

        async def obey() -> None:
            await anext(signals)
            tasks.cancel_scope.cancel()

        tasks.start_soon(obey)
        summary = await play()
        tasks.cancel_scope.cancel()
    return summary


async def _played(place: Path, json: bool) -> Summary:
    async with (
        embedded_server(place / "redis") as server,
        Everfold.connect(server.url, namespace=NAMESPACE, assets=assets_of(place)) as everfold,
        demo_processes(server.url, NAMESPACE, place) as processes,
    ):
        return await Show(lambda say: Demo(everfold, processes, place, say), json=json).run()


async def _played_in_console(
    place: Path, json: bool, port: int, tell: Callable[[Summary], None]
) -> Summary:
    """Play the demo under the eyes of a console, tell how it ended, and stay."""
    async with (
        embedded_server(place / "redis") as server,
        Everfold.connect(server.url, namespace=NAMESPACE, assets=assets_of(place)) as everfold,
        demo_processes(server.url, NAMESPACE, place) as processes,
    ):
        address = await start_console(processes, port)
        _say_address(address, "the console is at", json=json)
        await show_in_browser(address, os.environ)
        show = Show(lambda say: Demo(everfold, processes, place, say), json=json)
        tell(await show.run())
        _say_address(address, "Ctrl-C ends it; until then look at", json=json)
        await anyio.sleep_forever()
    raise AssertionError("only a signal ends it")


def _say_address(address: str, words: str, *, json: bool) -> None:
    if json:
        emit({"console": address})
    else:
        say(f"{words} ", (address, "bold"))


async def _played_failover(place: Path, json: bool) -> FailoverSummary:
    engine = choose_engine(DataFolder(place / "redis"), os.environ)
    async with (
        sentinel_service(engine, place / "redis") as service,
        Everfold.connect(
            service.url, namespace=NAMESPACE, assets=assets_of(place), replicas=1
        ) as everfold,
        demo_processes(service.url, NAMESPACE, place, EVERFOLD_REPLICAS="1") as processes,
    ):
        show = Show(lambda say: Failover(everfold, processes, service, place, say), json=json)
        return await show.run()


class Show(Generic[S]):
    """The live picture of a demo: a table in a terminal, plain lines elsewhere.

    `course` makes it; it is given what it is to call with each thing that happens.
    """

    def __init__(self, course: Callable[[Callable[[str], None]], Course[S]], *, json: bool) -> None:
        self._demo: Course[S] = course(self._say)
        self._json = json
        self._is_drawn = is_terminal() and not json
        self._started_s = time.monotonic()

    async def run(self) -> S:
        """Raises Unavailable when a process does not start, or the demo does not end."""
        try:
            summary = await (self._play_live() if self._is_drawn else self._demo.run())
        except* TimeoutError as slow:
            raise Unavailable("the demo has not ended in time; is the machine very busy?") from slow
        except* Unavailable as errors:
            raise errors.exceptions[0] from None
        return summary

    async def _play_live(self) -> S:
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
        if self._json:
            emit({"after_s": round(after_s, 1), "what": text})
        else:
            # Above the table, not in it: what is drawn again has to fit the rows of a terminal.
            say((f"{after_s:5.1f} s  ", "dim"), text)

    async def _redraw(self, live: Live) -> None:
        while True:
            live.update(self._picture(), refresh=True)
            await anyio.sleep(REFRESH_S)

    def _picture(self) -> RenderableType:
        columns = {
            "job": self._demo.name_of,
            "status": status,
            "progress": bar,
            "%": percent,
            "ComfyUI": self._demo.server_of,
            "runner": _runner,
            "doing": doing,
        }
        return table(shown(self._demo.jobs), columns, wrap=())


def shown(jobs: Sequence[Job], most: int = SHOWN) -> Sequence[Job]:
    """Return the jobs that fit into most terminals: all that have not ended, and the newest."""
    still = [job for job in jobs if not job.is_terminal][:most]
    ended = [job for job in jobs if job.is_terminal]
    kept = {job.job_id for job in (*still, *ended[len(ended) + len(still) - most :])}
    return jobs if len(jobs) <= most else [job for job in jobs if job.job_id in kept]


def _runner(job: Job) -> Part:
    if job.losses:
        return ("began anew", "bold yellow")
    name = job.owner.partition("-")[0]
    return (f"{name} took over".strip(), "bold yellow") if job.recovered else name


def _lines(summary: Summary | FailoverSummary) -> Iterator[tuple[Part, ...]]:
    rows = _of_failover(summary) if isinstance(summary, FailoverSummary) else _of_demo(summary)
    yield ("",)
    for count, words in rows:
        yield (f"{count:>4}", "bold"), f"  {words}"
    if isinstance(summary, Summary):
        yield ("      those of a job of yours: everfold jobs outputs JOB --to FOLDER",)
    end = "all as it should be" if summary.is_good else "NOT as it should be"
    yield ((f"      {end}, in {summary.seconds} s", "green" if summary.is_good else "red"),)


Rows = Sequence[tuple[int | float, str]]


def _of_failover(summary: FailoverSummary) -> Rows:
    return (
        (summary.acknowledged, f"submits acknowledged, {summary.during} of them after the kill"),
        (summary.succeeded, "succeeded"),
        (summary.lost, "lost"),
        (summary.executed_twice, "executed twice"),
        (
            summary.still_s,
            f"s without an acknowledged write; {summary.primary} is the primary now",
        ),
    )


def _of_demo(summary: Summary) -> Rows:
    seen = summary.seen
    return (
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
