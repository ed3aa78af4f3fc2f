"""The command line of every peer's program: `send JOB COUNT RATE`, or `work`.

JOB is `note` or `hold`; a RATE of 0 sends as fast as the library can. Sending prints how many
seconds it took, without the time to start and to connect.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

AT_ONCE = 32
"""Calls in flight where the library's call is asynchronous; Everfold's has as many connections."""

Send = Callable[[str, int], object]
"""Enqueue the named job with the time as its argument."""
SendAsync = Callable[[str, int], Awaitable[object]]
Sending = Callable[[], AbstractAsyncContextManager[SendAsync]]


def redis_url() -> str:
    return os.environ["BENCH_REDIS"]


def redis_place() -> tuple[str, int, int]:
    """Return host, port and number of the database."""
    host, _, rest = redis_url().removeprefix("redis://").partition(":")
    port, _, database = rest.partition("/")
    return host, int(port), int(database)


def run(sending: Sending, work: Callable[[], object]) -> None:
    """Do what the command line says, with an asynchronous library."""
    if sys.argv[1] == "work":
        work()
    else:
        asyncio.run(_send_async(sending, sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))


def run_blocking(send: Send, work: Callable[[], object]) -> None:
    """Do what the command line says, with a library whose calls block."""
    if sys.argv[1] == "work":
        work()
        return
    job, count, rate = sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    begun_s = time.monotonic()
    for number in range(count):
        if rate:
            time.sleep(max(0.0, begun_s + number / rate - time.monotonic()))
        send(job, time.monotonic_ns())
    print(time.monotonic() - begun_s, flush=True)


async def _send_async(sending: Sending, job: str, count: int, rate: float) -> None:
    async with sending() as send:
        begun_s = time.monotonic()
        if rate:
            await _paced(send, job, count, rate)
        else:
            await _at_once(send, job, count)
        print(time.monotonic() - begun_s, flush=True)


async def _at_once(send: SendAsync, job: str, count: int) -> None:
    left = iter(range(count))

    async def sender() -> None:
        for _ in left:
            await send(job, time.monotonic_ns())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(sender())


async def _one(send: SendAsync, job: str) -> None:
    await send(job, time.monotonic_ns())


async def _paced(send: SendAsync, job: str, count: int, rate: float) -> None:
    begun_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            await asyncio.sleep(max(0.0, begun_s + number / rate - time.monotonic()))
            tasks.create_task(_one(send, job))
