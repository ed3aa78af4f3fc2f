"""Hands the items of something in the event loop over to a thread, one by one.

Rule: it is opened, read and closed by one task. It reads one item ahead, and ends when the thread
no longer wants any.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from everfold.client import Everfold as AsyncEverfold
from everfold.streams.closing import close
from everfold.streams.errors import ClientClosed
from everfold.sync.connection import Connection
from everfold.sync.loop_thread import LoopThread, Running

T = TypeVar("T")
Source = TypeVar("Source", bound=AsyncIterable[object])


@contextlib.contextmanager
def handed_over(
    connection: Connection,
    opening: Callable[[AsyncEverfold], AbstractAsyncContextManager[Source]],
    items: Callable[[Source], AsyncIterable[T]],
) -> Iterator[tuple[Source, Iterator[T]]]:
    """Open something of the asyncio client, and yield it with its items."""
    thread, opened = connection.thread(), Future[Source]()
    send, receive = anyio.create_memory_object_stream[T](0)

    async def hand_over() -> None:
        try:
            async with send, opening(thread.client) as source:
                opened.set_result(source)
                await _send_all(items(source), send)
        finally:
            receive.close()
            opened.cancel()

    running = thread.start(hand_over)
    try:
        try:
            source = opened.result()
        except concurrent.futures.CancelledError:
            running.result()
            raise ClientClosed from None
        yield source, _received(thread, receive, running)
    finally:
        thread.leave(running)


async def _send_all(items: AsyncIterable[T], send: MemoryObjectSendStream[T]) -> None:
    iterator = aiter(items)
    try:
        async for item in iterator:
            await send.send(item)
    finally:
        if isinstance(iterator, AsyncGenerator):
            await close(iterator)


def _received(
    thread: LoopThread, receive: MemoryObjectReceiveStream[T], running: Running[None]
) -> Iterator[T]:
    while True:
        try:
            item = thread.call(receive.receive)
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            running.result()  # raises what ended it, if that was an error
            return
        yield item
