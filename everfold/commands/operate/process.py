"""Commands that run until a signal: the signals that end them, and what they log."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio

from everfold.streams.border.log_formatter import LogFormatter, quiet_talkers
from everfold.streams.errors import Misconfigured

INTERRUPTED = 130
"""The exit code of a command that a second signal stopped."""


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
                stop()
                await anext(signals)
            stop_at_once()
            code = INTERRUPTED
            tasks.cancel_scope.cancel()

        tasks.start_soon(obey)
        await run()
        tasks.cancel_scope.cancel()
    return code


def log_to_stderr() -> None:
    """Log to stderr from the level that EVERFOLD_LOG names, WARNING by default.

    Raises Misconfigured for a name that is none.
    """
    name = os.environ.get("EVERFOLD_LOG", "") or "WARNING"
    level = logging.getLevelNamesMapping().get(name.upper())
    if level is None:
        raise Misconfigured(f"EVERFOLD_LOG is {name!r}, which is no level of logging: write INFO")
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(LogFormatter())
    logging.basicConfig(level=level, handlers=[to_stderr])
    quiet_talkers()
