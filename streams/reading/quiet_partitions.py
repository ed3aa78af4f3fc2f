"""Waits in one blocking read for all partitions of one server in which nothing happens.

Rule: a partition goes on waiting by itself until a read that names it has begun, and leaves with
the first news of it. So nothing is read here but that there is something, nothing comes later than
without it, and what is busy is no part of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import cast

import anyio
from msgspec import Struct, field

from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.closing import end_all
from everfold.streams.errors import EverfoldError
from everfold.streams.reading.blocking_connection import BlockingConnection
from everfold.streams.redis.pages import Entries
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.server import BLOCK_S

logger = get_logger("everfold.log")


class Heard(Enum):
    """What is known of a partition after a wait."""

    NOTHING = auto()
    """Nothing has come in that time."""
    SOMETHING = auto()
    UNKNOWN = auto()
    """Nobody waits for it here: wait by yourself."""


class _Quiet(Struct):
    """One partition for which is waited."""

    after: str
    is_read: bool = False
    """A read that names it has begun."""
    heard: Heard = Heard.UNKNOWN
    error: EverfoldError | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


class QuietPartitions:
    """Waits for partitions of one log, as whoever reads them one by one asks. Close it with
    `aclose`. `name` is what CLIENT LIST shows behind the actor.
    """

    def __init__(self, log: Log, name: str) -> None:
        self._log = log
        self._quiet: dict[int, _Quiet] = {}
        self._blocking = BlockingConnection(log, name, BLOCK_S)
        self._task: asyncio.Task[None] | None = None

    async def wait(self, partition: int, after: str, within_s: float) -> Heard:
        """Wait for something after an entry id, if that is done here by now.

        UNKNOWN is answered at once, and a later call may know more. Raises what ended the wait,
        without a retry: a leaf of Unavailable.
        """
        if not self._log.redis.is_one_server:
            return Heard.UNKNOWN
        one = self._quiet.get(partition)
        if one is None or one.after != after:
            self._quiet[partition] = _Quiet(after)
            self._begin()
            return Heard.UNKNOWN
        if not one.is_read:
            return Heard.UNKNOWN
        with anyio.move_on_after(within_s):
            await one.over.wait()
        if one.error is not None:
            raise one.error
        return one.heard if one.over.is_set() else Heard.NOTHING

    def leave(self, partition: int) -> None:
        """Wait for a partition no more."""
        self._quiet.pop(partition, None)

    async def aclose(self) -> None:
        """End what is under way, and close the connection."""
        self._quiet.clear()
        if self._task is not None:
            await end_all([self._task])
        await self._blocking.aclose()

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        backoff = Backoff()
        while self._quiet:
            read = dict(self._quiet)
            try:
                news = await self._read(read)
                backoff.reset()
            except EverfoldError as error:
                self._tell(read, read, Heard.UNKNOWN, error)
                await asyncio.sleep(backoff.next_s())
            except Exception:
                logger.exception("quiet_partitions_broken")
                self._tell(read, read, Heard.UNKNOWN)
                await asyncio.sleep(backoff.next_s())
            else:
                self._tell(read, news, Heard.SOMETHING)

    async def _read(self, read: Mapping[int, _Quiet]) -> list[int]:
        """Wait for the next entry of any of them; return the partitions that have one."""
        partition_of = {self._log.keys.log(p).encode(): p for p in read}
        redis = await self._blocking.of(min(read))
        for one in read.values():
            one.is_read = True
        asked: list[str | bytes | int] = ["XREAD", "COUNT", 1, "BLOCK", int(BLOCK_S * 1000)]
        asked += ["STREAMS", *partition_of, *(one.after for one in read.values())]
        reply = await command(redis, *asked)
        return [partition_of[key] for key, _ in cast("list[tuple[bytes, Entries]]", reply or [])]

    def _tell(
        self,
        read: Mapping[int, _Quiet],
        about: Iterable[int],
        heard: Heard,
        error: EverfoldError | None = None,
    ) -> None:
        for partition in about:
            one = read[partition]
            one.heard, one.error = heard, error
            one.over.set()
            if self._quiet.get(partition) is one:
                del self._quiet[partition]
