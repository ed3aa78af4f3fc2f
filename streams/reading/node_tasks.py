"""One task for each group of partitions that one blocking read can name, ended and begun anew when
partitions move to other nodes.

Rule: the tasks of one grouping have ended before those of the next begin, so that two never read
for one cursor. A task notes how far it is in the step in which it hands on what it has read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar, cast

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.closing import end_all
from everfold.streams.errors import EverfoldError
from everfold.streams.redis.retry import Backoff

logger = get_logger("everfold.log")

T = TypeVar("T")
K = TypeVar("K")

QUEUE_LIMIT = 8
"""Items that wait for whoever follows, of all partitions together."""


def reading_groups(log: Log, partitions: Collection[int]) -> list[list[int]]:
    """Return the partitions in groups that one command can name: all where there is one server.

    The nodes of a cluster refuse a command with keys of several slots.
    """
    if log.redis.is_one_server:
        return [list(partitions)] if partitions else []
    return [[partition] for partition in partitions]


def node_groups(log: Log, keys: Iterable[str]) -> list[list[str]]:
    """Return the keys, or sharded channels, of each node."""
    found: dict[str, list[str]] = {}
    for key in keys:
        try:
            node = log.redis.node_of(key)
        except EverfoldError:
            node = ""  # that changes as soon as it is known
        found.setdefault(node, []).append(key)
    return list(found.values())


async def in_groups(
    log: Log,
    groups: Callable[[], Iterable[Sequence[K]]],
    act: Callable[[Sequence[K]], Coroutine[None, None, None]],
) -> None:
    """Act on each group until cancelled; group anew when `version` rises.

    An act that raises an EverfoldError is begun again; any other error ends all of them.
    """

    async def act_again(group: Sequence[K]) -> None:
        backoff = Backoff()
        while True:
            try:
                await act(group)
            except EverfoldError as error:
                logger.warning("reader_waits for=%s why=%r", list(group), str(error))
                await asyncio.sleep(backoff.next_s())

    while True:
        changed = asyncio.create_task(log.redis.changed(log.redis.version))
        tasks: list[asyncio.Task[None]] = [
            asyncio.create_task(act_again(group)) for group in groups()
        ]
        try:
            done, _ = await asyncio.wait([changed, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            await end_all([changed, *tasks])


class _Broken(Struct, frozen=True):
    error: Exception


@asynccontextmanager
async def queue_of(
    log: Log,
    partitions: Collection[int],
    follow: Callable[[Sequence[int], asyncio.Queue[T]], Coroutine[None, None, None]],
) -> AsyncIterator[AsyncIterator[T]]:
    """Yield what `follow` puts into the queue, for each group that one blocking read can name."""
    queue: asyncio.Queue[T] = asyncio.Queue(QUEUE_LIMIT)

    async def run() -> None:
        try:
            await in_groups(
                log, lambda: reading_groups(log, partitions), lambda group: follow(group, queue)
            )
        except Exception as error:
            await queue.put(cast("T", _Broken(error)))

    following = asyncio.create_task(run())
    try:
        yield _taken(queue)
    finally:
        await end_all([following])


async def _taken(queue: asyncio.Queue[T]) -> AsyncIterator[T]:
    while True:
        item = await queue.get()
        if isinstance(item, _Broken):
            raise item.error
        yield item
