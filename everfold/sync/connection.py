"""Opens a client when it is first needed: once in each process, and anew after a fork.

Rule: many threads may call at once. What a parent process had open is never touched by a fork of
it, not even to close it: both share its sockets.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from everfold.client import Everfold as AsyncEverfold
from everfold.streams.errors import ClientClosed
from everfold.sync.loop_thread import LoopThread

T = TypeVar("T")

Opening = Callable[[], AbstractAsyncContextManager[AsyncEverfold]]


class Connection:
    """What the parts of one client share. It closes itself at exit, and when nobody has it."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._lock = threading.Lock()
        self._open = _Open()
        self._is_closed = False
        _connections.add(self)
        weakref.finalize(self, _stop, self._open)

    def call(self, function: Callable[[AsyncEverfold], Awaitable[T]]) -> T:
        """Await a function of the asyncio client; open that first where it is not open.

        Raises what opening and the function raise, and ClientClosed after `close`.
        """
        thread = self.thread()
        return thread.call(lambda: function(thread.client))

    def thread(self) -> LoopThread:
        """Return the thread of this process; it begins where there is none. Raises as `call`."""
        thread = self._open.thread
        if thread is not None and thread.is_alive:
            return thread
        with self._lock:
            if self._is_closed:
                raise ClientClosed
            thread = self._open.thread
            if thread is None or not thread.is_alive:
                self._open.thread = thread = LoopThread(self._opening())
            return thread

    def close(self) -> None:
        """Close the client of this process for good. A repeat does nothing."""
        with self._lock:
            self._is_closed = True
            _stop(self._open)

    def forget(self) -> None:
        """Begin anew in a fork: another thread may have had the lock when it was made."""
        self._lock = threading.Lock()
        if self._open.thread is not None:
            _of_parents.append(self._open.thread)
            self._open.thread = None


class _Open:
    """What a connection has open."""

    thread: LoopThread | None = None


def _stop(open_now: _Open) -> None:
    thread, open_now.thread = open_now.thread, None
    if thread is not None:
        thread.stop()


_connections = weakref.WeakSet[Connection]()
_of_parents = list[LoopThread]()
"""Kept, so that nothing of them is closed by a process that only has copies."""


def _forget_all() -> None:
    for connection in list(_connections):
        connection.forget()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_forget_all)
