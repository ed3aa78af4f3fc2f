"""What systemd wants to hear of a service: sd_notify(3), without its library.

Rule: it never fails a process and never waits. Without NOTIFY_SOCKET nothing is done.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping

import anyio

READY, STOPPING, WATCHDOG = "READY=1", "STOPPING=1", "WATCHDOG=1"

LEAST_S, MOST_S = 0.1, 60.0
"""Bounds of the pause between two signs of life, whatever the environment says."""


def tell(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send one state to the supervisor; say whether it took it."""
    name = environ.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return False
    address = "\0" + name[1:] if name.startswith("@") else name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)
    except (OSError, ValueError):
        return False
    return True


def watchdog_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the pause between two signs of life, None where none are wanted of this process."""
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdigit() and len(text) < 16) or int(text) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None
    return min(MOST_S, max(LEAST_S, int(text) / 1_000_000 / 2))


@contextlib.asynccontextmanager
async def watched(environ: Mapping[str, str] = os.environ) -> AsyncIterator[None]:
    """Give signs of life from the event loop while the context is open, and say when it ends.

    A loop that does not turn gives none, and the supervisor ends the process.
    """
    pause_s = watchdog_s(environ)

    async def live(every_s: float) -> None:
        while True:
            tell(WATCHDOG, environ)
            await anyio.sleep(every_s)

    async with anyio.create_task_group() as tasks:
        if pause_s is not None:
            tasks.start_soon(live, pause_s)
        try:
            yield
        finally:
            tell(STOPPING, environ)
            tasks.cancel_scope.cancel()
