"""Closes connections and files at the end of a block, however the block ends.

Rule: a cancel is delivered again at each wait, so a close without a shield ends half-way and leaves
its connections open. To others such a connection is a sign of life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

import anyio

CLOSE_WITHIN_S = 5.0
"""Longest time that closing may take; what is still open then is left to the operating system."""


class Closable(Protocol):
    def aclose(self) -> Coroutine[None, None, None]: ...


async def close(resource: Closable) -> None:
    """Close it, also while the calling task is being cancelled, and cancelled again."""
    loop = asyncio.get_running_loop()
    closing, give_up_at_s = loop.create_task(resource.aclose()), loop.time() + CLOSE_WITHIN_S
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not closing.done() and (left_s := give_up_at_s - loop.time()) > 0:
            try:
                await asyncio.wait([closing], timeout=left_s)
            except asyncio.CancelledError as error:
                cancelled = error
    if not closing.done():
        closing.cancel()
    elif not closing.cancelled() and (failed := closing.exception()) is not None:
        raise failed
    if cancelled is not None:
        raise cancelled


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
