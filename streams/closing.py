"""Closes connections and files, ends tasks and calls in threads, however a block ends.

Rule: a cancel is delivered again at each wait, so a close without a shield ends half-way and leaves
its connections open. To others such a connection is a sign of life.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel

_pool: list[ThreadPoolExecutor] = []
"""The threads of `in_thread`, once they are needed. A forked child has none of its parent's."""
os.register_at_fork(after_in_child=_pool.clear)

THREADS = 40
"""As many as anyio has for what may be left behind."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CLOSE_WITHIN_S = 5.0
"""Longest time that closing may take; what is still open then is left to the operating system."""


CANCEL_AGAIN_S = 0.1
"""Seconds after which a task that goes on is cancelled once more."""


class Closable(Protocol):
    def aclose(self) -> Coroutine[None, None, None]: ...


async def close(resource: Closable) -> None:
    """Close it, also while the calling task is being cancelled, and cancelled again."""
    loop = asyncio.get_running_loop()
    closing, give_up_at_s = loop.create_task(resource.aclose()), loop.time() + CLOSE_WITHIN_S
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not closing.done() and (left_s := give_up_at_s - loop.time()) > 0:
            cancelled = await _wait([closing], left_s) or cancelled
    if not closing.done():
        closing.cancel()
    elif not closing.cancelled() and (failed := closing.exception()) is not None:
        raise failed
    if cancelled is not None:
        raise cancelled


async def end_all(tasks: Collection[asyncio.Task[object]]) -> None:
    """Cancel tasks and wait until they have ended, also while the calling task is cancelled again;
    what they end with is passed over."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while running := [task for task in tasks if not task.done()]:
            for task in running:
                task.cancel()
            # Again and again: a cancellation that comes with an answer may be lost.
            cancelled = await _wait(running, CANCEL_AGAIN_S) or cancelled
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that nobody is told of it as of one that got lost
    if cancelled is not None:
        raise cancelled


async def _wait(
    tasks: Collection[asyncio.Future[T]], timeout_s: float | None
) -> asyncio.CancelledError | None:
    """Wait for tasks; return the cancellation that ended the wait, None for none."""
    try:
        await asyncio.wait(tasks, timeout=timeout_s)
    except asyncio.CancelledError as error:
        return error
    return None


async def in_thread(call: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Make a call that blocks in a thread, and go on only when it has ended.

    A plain `task.cancel()`, as a Ctrl-C or the end of the loop is to asyncio, would leave the
    thread behind: it would hold its lock, or write its file, while the caller cleans up. A
    cancellation, anyio's too, is raised afterwards; what the call returned is lost then. The call
    is made even where the caller has been cancelled before, so that it serves to clean up.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    # No task: the end of the loop would cancel that by itself.
    calling = loop.run_in_executor(_threads(), partial(context.run, call, *arguments))
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not calling.done():
            cancelled = await _wait([calling], None) or cancelled
    if cancelled is not None:
        calling.exception()  # looked at: the cancellation says more
        raise cancelled
    result = calling.result()
    await anyio.lowlevel.checkpoint_if_cancelled()
    return result


def _threads() -> ThreadPoolExecutor:
    if not _pool:
        _pool.append(ThreadPoolExecutor(THREADS, "everfold"))
    return _pool[0]
