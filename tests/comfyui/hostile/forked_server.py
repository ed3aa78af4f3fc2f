"""A server in a process of its own, and what speaking to it costs this one."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio

TICK_S = 0.005


@contextmanager
def forked_server(answer: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """Yield the URL of a process that answers until the context ends.

    `answer` is called with each connection and with the head of its request, one after the other.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        child = os.fork()
        if child == 0:
            while True:
                with suppress(OSError), listener.accept()[0] as connection:
                    answer(connection, _head(connection))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _head(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536)
    return request


class Meter:
    """What was seen while a `metered` context was open."""

    stall_s = 0.0
    """The longest that the event loop did one thing, by CPU time."""
    peak_mib = 0.0
    """Growth of the peak of resident memory, once the context is closed."""


@asynccontextmanager
async def metered() -> AsyncIterator[Meter]:
    """Measure this process; by CPU time, so that a busy machine makes no difference."""
    meter, before_kib = Meter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def tick() -> None:
        while True:
            before_s = time.thread_time()
            await anyio.sleep(TICK_S)
            meter.stall_s = max(meter.stall_s, time.thread_time() - before_s)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        yield meter
        tasks.cancel_scope.cancel()
    meter.peak_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
