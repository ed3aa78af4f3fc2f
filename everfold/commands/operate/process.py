"""Commands that run until a signal: the signals that end them, and what they log."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator

import anyio

INTERRUPTED = 130
"""The exit code of a command that a second signal stopped."""


@contextlib.asynccontextmanager
async def ending_signals() -> AsyncIterator[AsyncIterator[signal.Signals]]:
    """Yield each SIGTERM and SIGINT while the context is open; they have no other effect."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        yield signals


def log_to_stderr() -> None:
    """Log to stderr from the level that EVERFOLD_LOG names, WARNING by default."""
    level = os.environ.get("EVERFOLD_LOG", "WARNING").upper()
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
