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
from collections.abc import Sequence
from typing import cast

import hiredis
import redis.exceptions as theirs
from msgspec import Struct
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection

CARRIERS = 2
"""Connections that carry commands at once. With more, fewer commands share a trip."""

BATCH_LIMIT = 128
"""Commands per trip: all of them must be answered within the time-out of one."""

Argument = str | bytes | int


def packed(arguments: Sequence[Argument]) -> bytes:
    """Return a command as it is sent. redis-py's own packer takes five times as long."""
    name, *rest = arguments
    words = name.split() if isinstance(name, str) else [name]  # such as XGROUP CREATE
    return cast("bytes", hiredis.pack_command((*words, *rest)))


class _Waiting(Struct, eq=False):
    command: bytes
    answer: asyncio.Future[object]

    def settle(self, answer: object) -> None:
        if self.answer.done():
            return  # its caller was cancelled
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class PipeliningRedis(Redis):
    """A client whose commands are pipelined by themselves, for commands that never block.

    It owns the pool. `timeout_s`: longest wait for the answers of one trip.
    """

    def __init__(self, pool: ConnectionPool, timeout_s: float) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._timeout_s = timeout_s
        self._waiting: deque[_Waiting] = deque()
        self._carriers: set[asyncio.Task[None]] = set()

    async def execute_command(self, *arguments: Argument, **_: object) -> object:
        mine = _Waiting(packed(arguments), asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        if len(self._waiting) == 1:
            self._send_carrier()
        return await mine.answer

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        while carriers := list(self._carriers):
            for carrier in carriers:
                carrier.cancel()
            # Again and again: Python 3.11's wait_for, which sends, may lose a cancellation.
            await asyncio.wait(carriers, timeout=0.1)
        await super().aclose(close_connection_pool)

    def _send_carrier(self) -> None:
        """Have somebody carry what waits. It begins in the next turn of the event loop: whoever
        asks in this one comes along."""
        if len(self._carriers) < CARRIERS:
            self._carriers.add(asyncio.create_task(self._carry()))

    async def _carry(self) -> None:
        """Carry all that waits, trip by trip."""
        batch: list[_Waiting] = []
        try:
            connection = await self.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            try:
                while batch := self._next_batch(BATCH_LIMIT):
                    await self._trip(connection, batch)
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
                self._send_carrier()

    def _next_batch(self, most: int | None = None) -> list[_Waiting]:
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(len(waiting), most or len(waiting)))]

    async def _trip(self, connection: AbstractConnection, batch: Sequence[_Waiting]) -> None:
        commands = b"".join([one.command for one in batch])
        await connection.send_packed_command(commands, check_health=False)
        try:
            async with asyncio.timeout(self._timeout_s):
                for one in batch:
                    one.settle(await _answer(connection))
        except TimeoutError:
            raise theirs.TimeoutError(f"no answer within {self._timeout_s:g} s") from None


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for one in batch:
        one.settle(error)


async def _answer(connection: AbstractConnection) -> object:
    try:
        # One time-out for the whole trip: redis-py's own for each answer costs as much as it.
        return await connection.read_response(timeout=math.inf)
    except theirs.ResponseError as error:
        return error
