"""Commands that run until a signal: what they begin with, the signals that end them, their log."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from everfold import __version__
from everfold.commands.process.logs import begin_logging
from everfold.commands.process.process_options import ProcessOptions
from everfold.commands.session import Session
from everfold.health.checks import (
    FoldsOn,
    is_registered,
    reaches_backends,
    renews_leases,
    server_answers,
)
from everfold.health.supervisor import READY, STOPPING, tell, watched
from everfold.streams.errors import Misconfigured
from everfold.tracing.begin import traced

if TYPE_CHECKING:
    from everfold.metrics.surface import Check, Source
    from everfold.projector.projector import Projector
    from everfold.runner.runner import Runner
    from everfold.streams.appending.log import Log

INTERRUPTED = 130
"""The exit code of a command that a second signal stopped."""


class RunningProcess(TaskStatus[None]):
    """A process that runs until a signal, as those see it that watch it."""

    def __init__(self) -> None:
        self._begun = False
        self.checks: dict[str, Check] = {"start": self._why_not_begun}
        """What must hold before /readyz says that it can do its work, by name."""
        self.notes: dict[str, Check] = {}
        """What /readyz says besides, and what is no reason not to be ready; other names."""
        self.is_watched = False
        """Whether somebody can ask."""
        self.sources: dict[str, Source] = {}
        """What /metrics shows besides the measures of this process, by name."""

    async def _why_not_begun(self) -> str:
        return "" if self._begun else "it has not begun its work yet"

    def started(self, value: None = None) -> None:
        """Say to the supervisor that the work has begun; at the first call only."""
        if not self._begun:
            tell(READY)
        self._begun = True

    def serves(self, log: Log) -> None:
        """Be ready while the server of this log answers."""
        self.checks["Redis"] = server_answers(log)

    def works_as_runner(self, log: Log, runner: Runner, name: str) -> None:
        """Be ready while this runner can take jobs and keep them."""
        self.serves(log)
        self.checks["heartbeat"] = is_registered(log, name)
        self.checks["renewal"] = renews_leases(runner)
        self.notes["backends"] = reaches_backends(log, name)

    def works_as_projector(self, log: Log, projector: Projector) -> None:
        """Be ready while this projector folds what it has to fold."""
        self.serves(log)
        self.checks["projection"] = FoldsOn(log, projector)


@contextlib.asynccontextmanager
async def running(options: ProcessOptions, session: Session) -> AsyncIterator[RunningProcess]:
    """Begin what a process needs before its work: its log, and what it answers to those that watch.

    Raises Misconfigured for an option that cannot be followed, before anything is done.
    """
    begin_logging(options.log_level, options.log_format)
    process = RunningProcess()
    with traced(__version__):
        async with watched(), _listening(options, process, session):
            yield process


@contextlib.asynccontextmanager
async def _listening(
    options: ProcessOptions, process: RunningProcess, session: Session
) -> AsyncIterator[None]:
    """Answer /metrics, /livez and /readyz, if a port is given for that."""
    if options.metrics_port is None:
        yield
        return
    try:
        from everfold.listening.small_http import SmallHttp
        from everfold.listening.sockets import listen, urls
        from everfold.metrics.surface import Surface
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        raise Misconfigured("--metrics-port needs: pip install 'everfold[metrics]'") from error
    with contextlib.ExitStack() as closing:
        found = listen(options.metrics_host, options.metrics_port, "--metrics-")
        sockets = [closing.enter_context(one) for one in found]
        surface = Surface(process.checks, process.sources, process.notes)
        addresses = [f"{url}/metrics" for url in urls(sockets)]
        process.is_watched = True
        async with SmallHttp(sockets, surface.answers()).serve():
            session.tell({"metrics": addresses}, *(f"metrics  {one}" for one in addresses))
            yield


@contextlib.asynccontextmanager
async def ending_signals(
    *more: signal.Signals,
) -> AsyncIterator[AsyncIterator[signal.Signals]]:
    """Yield each SIGTERM, SIGINT and what is named besides while the context is open.

    They have no other effect.
    """
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, *more) as signals:
        yield signals


async def run_until_signal(
    run: Callable[[], Awaitable[object]], stop: Callable[[], None], stop_at_once: Callable[[], None]
) -> int:
    """Run until it ends: the first signal calls `stop`, a second one cancels it.

    `stop_at_once` is called before that. Returns the exit code.
    """
    code = 0
    async with anyio.create_task_group() as tasks:

        async def obey() -> None:
            nonlocal code
            async with ending_signals() as signals:
                await anext(signals)
                tell(STOPPING)
                stop()
                await anext(signals)
            stop_at_once()
            code = INTERRUPTED
            tasks.cancel_scope.cancel()

        tasks.start_soon(obey)
        await run()
        tasks.cancel_scope.cancel()
    return code
