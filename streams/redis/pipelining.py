"""Pipelining: commands that wait at the same time travel in one write, and their answers come
back in order.

Rule: a command that finds a carrier free leaves at once; while all are under way the next ones
gather. A caller that is cancelled leaves its command on its way. When a connection breaks, any of
the commands on it may have been carried out, as with a single one.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar, cast

import hiredis
import redis.exceptions as theirs
from msgspec import Struct
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection

from everfold.streams.redis.settle import settle

CARRIERS = 2
"""Connections that carry commands at once. With more, fewer commands share a trip."""

LINGER_S = 0.05
"""How long a carrier with nothing to carry keeps its connection. Taking one from the pool, which
looks whether it is alive, costs as much as a command."""

BATCH_LIMIT = 128
"""Commands per trip: all of them must be answered within the time-out of one."""

Argument = str | bytes | int
T = TypeVar("T")


def packed(arguments: Sequence[Argument]) -> bytes:
    """Return a command as it is sent. redis-py's own packer takes five times as long."""
    name, *rest = arguments
    words = name.split() if isinstance(name, str) else [name]  # such as XGROUP CREATE
    return cast("bytes", hiredis.pack_command((*words, *rest)))


class _Waiting(Struct, eq=False):
    command: bytes
    answer: asyncio.Future[object]


class PipeliningRedis(Redis):
    """A client whose commands are pipelined by themselves, for commands that never block.

    It owns the pool. `timeout_s`: longest wait for a connection, and for the answers of one trip.
    """

    def __init__(self, pool: ConnectionPool, timeout_s: float) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._timeout_s = timeout_s
        self._waiting: deque[_Waiting] = deque()
        self._carriers: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []

    async def execute_command(self, *arguments: Argument, **_: object) -> object:
        return await self._enqueue(arguments)

    async def execute_all(self, commands: Iterable[Sequence[Argument]]) -> list[object]:
        """Send many commands at once. Raises the first error, when all are over."""
        answers = [self._enqueue(arguments) for arguments in commands]
        await asyncio.gather(*answers, return_exceptions=True)
        return [answer.result() for answer in answers]

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        while carriers := list(self._carriers):
            for carrier in carriers:
                carrier.cancel()
            # Again and again: a cancellation that comes with an answer may be lost.
            await asyncio.wait(carriers, timeout=0.1)
        await super().aclose(close_connection_pool)

    def _enqueue(self, arguments: Sequence[Argument]) -> asyncio.Future[object]:
        mine = _Waiting(packed(arguments), asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        if len(self._waiting) == 1:
            self._call_carrier()
        return mine.answer

    def _call_carrier(self) -> None:
        """Have somebody carry what waits, from the next turn of the event loop on: whoever asks in
        this one comes along."""
        if self._idle:
            settle(self._idle.pop(), None)
        elif len(self._carriers) < CARRIERS:
            self._carriers.add(asyncio.create_task(self._carry()))

    async def _carry(self) -> None:
        """Carry what waits, trip by trip, until there is nothing for a while."""
        batch: list[_Waiting] = []
        try:
            connection = await self._in_time(self.connection_pool.get_connection())  # type: ignore[no-untyped-call]
            try:
                while batch := await self._more(connection):
                    await self._in_time(_trip(connection, batch))
                    batch = []
            finally:
                await self.connection_pool.release(connection)
        except asyncio.CancelledError:
            _fail([*batch, *self._next_batch()], theirs.ConnectionError("the client was closed"))
            raise
        except Exception as error:
            # Without a connection nobody can go; else the others may still have luck with theirs.
            _fail(batch or self._next_batch(), error)
        finally:
            # Not by a callback of the task: between its end and that, nobody would carry.
            self._carriers.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if self._waiting:
                self._call_carrier()

    async def _more(self, connection: AbstractConnection) -> list[_Waiting]:
        """Return the next batch; none when nothing has come for a while, or the connection is gone.

        The latter is looked at only after a pause: a server that hangs up at once is an error.
        """
        if not self._waiting:
            await self._linger()
            if _was_closed(connection):
                return []
        return self._next_batch(BATCH_LIMIT)

    async def _linger(self) -> None:
        loop = asyncio.get_running_loop()
        called: asyncio.Future[None] = loop.create_future()
        self._idle.append(called)
        timer = loop.call_later(LINGER_S, settle, called, None)
        try:
            await called
        finally:
            timer.cancel()
            if called in self._idle:
                self._idle.remove(called)

    def _next_batch(self, most: int | None = None) -> list[_Waiting]:
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(len(waiting), most or len(waiting)))]

    async def _in_time(self, doing: Awaitable[T]) -> T:
        """Await it. One time-out for all: redis-py's own, for each step, cost as much as it."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await doing
        except TimeoutError:
            raise theirs.TimeoutError(f"no answer within {self._timeout_s:g} s") from None


def _was_closed(connection: AbstractConnection) -> bool:
    """Say whether the server has closed it, as far as the event loop has heard."""
    reader = connection._reader
    return reader is None or reader.at_eof()


async def _trip(connection: AbstractConnection, batch: Sequence[_Waiting]) -> None:
    await connection.send_packed_command(
        b"".join([one.command for one in batch]), check_health=False
    )
    for one in batch:
        settle(one.answer, await _answer(connection))


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for one in batch:
        settle(one.answer, error)


async def _answer(connection: AbstractConnection) -> object:
    try:
        return await connection.read_response(timeout=math.inf)
    except theirs.ResponseError as error:
        return error
