"""What commands that run until a signal share."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator

import anyio


@contextlib.asynccontextmanager
async def ending_signals() -> AsyncIterator[AsyncIterator[signal.Signals]]:
    """Yield each SIGTERM and SIGINT while the context is open, in place of what they do."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        yield signals


def log_to_stderr() -> None:
    """Log warnings, or what EVERFOLD_LOG names."""
    level = os.environ.get("EVERFOLD_LOG", "WARNING").upper()
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
