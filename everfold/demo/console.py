"""The console over the demo: a gateway of its own, and a browser that shows it, where there is one.

Rule: a browser is a favor. None, or one that fails, changes nothing.
"""

from __future__ import annotations

import contextlib
import sys
import webbrowser
from collections.abc import Mapping

import anyio
from anyio.to_thread import run_sync

from everfold.demo.processes import DemoProcesses

BROWSER_WITHIN_S = 10.0


async def start_console(processes: DemoProcesses, port: int) -> str:
    """Start a gateway, return the address of its console. Raises Unavailable."""
    gateway = await processes.start("gateway", "serve", "--port", str(port))
    url = next(word for word in gateway.first_line.split() if word.startswith("http"))
    return f"{url.rstrip('/')}/console"


async def show_in_browser(address: str, environ: Mapping[str, str]) -> bool:
    """Open a browser window; False where there is none, or it does not open in time."""
    if not _has_window(environ):
        return False
    with anyio.move_on_after(BROWSER_WITHIN_S):
        return await run_sync(_opened, address, abandon_on_cancel=True)
    return False


def _has_window(environ: Mapping[str, str]) -> bool:
    """Say whether a browser could have a window: one in the terminal would cover the demo."""
    wanted = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(environ.get(name) for name in wanted)


def _opened(address: str) -> bool:
    with contextlib.suppress(OSError, ValueError, webbrowser.Error):
        return webbrowser.open(address)
    return False
