"""Closes connections and files at the end of a block, however the block ends.

Rule: a cancel is delivered again at each wait, so a close without a shield ends half-way and leaves
its connections open. To others such a connection is a sign of life.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio

CLOSE_WITHIN_S = 5.0
"""Longest time that closing may take; what is still open then is left to the operating system."""


class Closable(Protocol):
    async def aclose(self) -> None: ...


async def close(resource: Closable) -> None:
    """Close it, also while the calling task is being cancelled."""
    with anyio.move_on_after(CLOSE_WITHIN_S, shield=True):
        await resource.aclose()


async def close_blocking(call: Callable[[], object]) -> None:
    """Make a call that blocks in a thread, also while the calling task is being cancelled.

    It is made twice when the task is cancelled meanwhile, so it must bear that.
    """
    is_done = False
    try:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(call)
            is_done = True
    finally:
        if not is_done:
            call()
