"""The owner of a client: the event loop and the process that opened it.

Rule: a connection answers in the event loop that opened it and in no other. A call from elsewhere
fails at once, because it would wait for ever, or read an answer that another process waits for.
"""

from __future__ import annotations

import asyncio
import os
import threading

from everfold.streams.errors import ClientShared, NeedsAsyncio


def running_loop() -> asyncio.AbstractEventLoop:
    """Return asyncio's running event loop. Raises NeedsAsyncio under any other library."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise NeedsAsyncio from None


class Owner:
    """Made in the event loop to which it belongs. Raises NeedsAsyncio where there is none."""

    def __init__(self) -> None:
        self._loop = running_loop()
        self._process = os.getpid()
        self._thread = threading.current_thread().name

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop. Raises ClientShared when the caller runs in another one."""
        if self._process != os.getpid():
            raise ClientShared(f"process {self._process}", f"process {os.getpid()}")
        if running_loop() is not self._loop:
            here = threading.current_thread().name
            raise ClientShared(
                f"the event loop of thread {self._thread!r}", f"another one, in thread {here!r}"
            )
        return self._loop
