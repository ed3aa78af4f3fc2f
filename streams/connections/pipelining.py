"""Pipelining: commands that wait at the same time are sent in one write, and their answers come
back in order.

Rule: a command that finds a writer free is sent at once; while all writers are busy the next ones
gather. Cancelling a caller does not recall a command that was sent. When a connection breaks, each
command on it may have been carried out, as with a single one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import zip_longest
from typing import TypeVar, cast

import redis.exceptions as theirs
from msgspec import Struct
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, SSLConnection

from everfold.streams.connections.change import ChangeCount
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import (
    Argument,
    PatientConnection,
    cut_all,
    packed,
    pool_like,
    says_replica,
)
from everfold.streams.connections.owner import Owner
from everfold.streams.connections.tls_errors import NO_TLS
from everfold.streams.errors import ClientClosed
from everfold.streams.events.limits import BATCH_LIMIT_BYTES
from everfold.streams.telemetry.measures import FAST_S, histogram

WRITERS = 2
"""Connections that carry commands at once. With more of them, fewer commands share a write."""

KEEP_ALIVE_S = 0.05
"""Seconds that a writer without commands keeps its connection. To take one from the pool costs as
much as a command, because the pool checks that it is alive."""

BATCH_LIMIT = 128
"""Commands per write: few enough for the server to turn to others in between."""

BATCH_BYTES = BATCH_LIMIT_BYTES
"""Bytes per write, unless one command alone is larger: so much is sent again when a link breaks."""

REPLY_BYTES = 512 * 1024
"""Bytes of the answers to one write, as far as they are known before: a server cuts a connection
off whose answers pile up beyond its limit."""

REPLICAS_S = histogram(
    "everfold_replicas_seconds",
    "Time that one write to the server waited for its replicas, after all else was answered.",
    bounds=FAST_S,
)

T = TypeVar("T")


def resolve(future: asyncio.Future[T], outcome: T | Exception) -> None:
    """Give a future its result or its error; does nothing if it is done or cancelled."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class _PendingCommand(Struct, eq=False):
    packed: bytes
    answer: asyncio.Future[object]
    reply_bytes: int = 0
    together: int = 0
    """Commands in `packed` whose answers come as one list; 0 for a single command."""
    wait: tuple[int, int] = (0, 0)
    """Replicas that must have it, and ms to wait for them; their number is one more answer."""


class PipeliningRedis(LedgerRedis):
    """A client of one server that pipelines its commands by itself. Not for commands that block.

    Answers whose size nobody knows may be larger together than what the server lets pile up: after
    a write that broke, the next ones have fewer commands. It owns `pool` and closes it.
    `timeout_s` bounds the wait for a connection, and the silence until the next answer. `name` is
    what people know the server by.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        timeout_s: float,
        name: str = "",
        changes: ChangeCount | None = None,
        told: Callable[[Exception], None] | None = None,
    ) -> None:
        super().__init__(connection_pool=pool)
        self.response_callbacks.clear()  # they guess from options that raw commands do not have
        self.name = name or _name(pool)
        self.auto_close_connection_pool = True
        self._timeout_s = timeout_s
        self.owner = Owner()
        self.changes = changes or ChangeCount()
        self.told = told
        cast("PatientConnection", pool.connection_class).heard = self.hear
        self._pending: deque[_PendingCommand] = deque()
        self._writers: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._batch_limit = BATCH_LIMIT
        self._is_closed = False
        self._waiting: PipeliningRedis | None = None
        """Sends what waits for replicas, on connections of its own: nothing else stands behind."""

    async def execute_command(
        self, *arguments: Argument, reply_bytes: int = 0, **_: object
    ) -> object:
        if self.gate is not None:
            await self.gate()
        return await self.enqueue(arguments, reply_bytes)

    async def execute_all(
        self, commands: Iterable[Sequence[Argument]], reply_bytes: Sequence[int] = ()
    ) -> list[object]:
        if self.gate is not None:
            await self.gate()
        answers = await self.outcomes(commands, reply_bytes)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def execute_together(self, *commands: Sequence[Argument]) -> list[object]:
        if self.gate is not None:
            await self.gate()
        return await self.together(commands)

    def enqueue(
        self, arguments: Sequence[Argument], reply_bytes: int = 0
    ) -> asyncio.Future[object]:
        """Put a command among those that are sent next, without the gate; return its answer."""
        return self._add(packed(arguments), reply_bytes)

    async def outcomes(
        self, commands: Iterable[Sequence[Argument]], reply_bytes: Sequence[int] = ()
    ) -> list[object]:
        """As `execute_all`, but without the gate, and an error stands in its command's place."""
        pairs = zip_longest(commands, reply_bytes, fillvalue=0)
        answers = [self.enqueue(cast("Sequence[Argument]", a), size) for a, size in pairs]
        return cast("list[object]", await asyncio.gather(*answers, return_exceptions=True))

    async def together(self, commands: Sequence[Sequence[Argument]]) -> list[object]:
        """As `execute_together`, but without the gate."""
        if len(commands) > 1 and commands[-1][0] == "WAIT":
            return await self._wait_for_replicas(commands[:-1], commands[-1])
        sent = b"".join([packed(one) for one in commands])
        return cast("list[object]", await self._add(sent, together=len(commands)))

    def hear(self, error: Exception) -> None:
        """Pass each error reply and each broken connection on to who wants to know it."""
        if self.told is not None:
            self.told(error)

    def at(self, key: str) -> PipeliningRedis:
        return self

    def node_of(self, key: str) -> str:
        return self.name

    def primaries(self) -> list[PipeliningRedis]:
        return [self]

    def blocking(self, key: str, *, name: str, block_s: float) -> Redis:
        pool = pool_like(self.connection_pool, name=name, timeout_s=block_s + self._timeout_s)
        cast("PatientConnection", pool.connection_class).heard = self._hear_reader
        self.changes.add_reader(pool)
        made = Redis.from_pool(pool)
        made.response_callbacks.clear()
        return made

    def connections_opened(self) -> int:
        return cast("PatientConnection", self.connection_pool.connection_class).opened

    def shows_names(self) -> bool:
        return cast("PatientConnection", self.connection_pool.connection_class).has_name

    def primary_changed(self) -> None:
        """Drop all connections, those that wait for an answer too: another server is the primary.

        Commands without an answer fail with a ConnectionError.
        """
        self.changes.rise()
        self.cut()

    def cut(self) -> None:
        """Drop all connections but those of blocking reads; commands without an answer fail."""
        cut_all(self.connection_pool)

    def _hear_reader(self, error: Exception) -> None:
        self.hear(error)
        if says_replica(error):
            self.changes.rise()

    async def _wait_for_replicas(
        self, commands: Sequence[Sequence[Argument]], wait: Sequence[Argument]
    ) -> list[object]:
        self._loop()
        if self._waiting is None:
            self._waiting = PipeliningRedis(
                self.connection_pool, self._timeout_s, self.name, self.changes, self.hear
            )
        sent, asked = b"".join([packed(one) for one in commands]), (int(wait[1]), int(wait[2]))
        answer = self._waiting._add(sent, together=len(commands), wait=asked)
        return cast("list[object]", await answer)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections; commands without an answer fail with a ConnectionError."""
        self._is_closed = True
        if self._waiting is not None:
            await self._waiting.aclose(close_connection_pool)
        while writers := list(self._writers):
            for writer in writers:
                writer.cancel()
            # Again and again: a cancellation that comes with an answer may be lost.
            await asyncio.wait(writers, timeout=0.1)
        await super().aclose(close_connection_pool)

    def _loop(self) -> asyncio.AbstractEventLoop:
        """Return the owner's event loop. Raises ClientShared, ClientClosed."""
        if self._is_closed:
            raise ClientClosed  # a connection that is opened now is closed by nobody
        return self.owner.loop()

    def _add(
        self,
        sent: bytes,
        reply_bytes: int = 0,
        together: int = 0,
        wait: tuple[int, int] = (0, 0),
    ) -> asyncio.Future[object]:
        answer: asyncio.Future[object] = self._loop().create_future()
        mine = _PendingCommand(sent, answer, reply_bytes, together, wait)
        self._pending.append(mine)
        if len(self._pending) == 1:
            self._wake_writer()
        return mine.answer

    def _wake_writer(self) -> None:
        """Wake an idle writer or start one; it runs on the next turn of the event loop, so that
        the commands of this turn share its write."""
        if self._idle:
            resolve(self._idle.pop(), None)
        elif len(self._writers) < WRITERS:
            self._writers.add(asyncio.create_task(self._write_all()))

    async def _write_all(self) -> None:
        """Write what is pending, batch by batch, until there has been nothing for a while."""
        batch: list[_PendingCommand] = []
        try:
            connection = await self._in_time(self.connection_pool.get_connection())  # type: ignore[no-untyped-call]
            try:
                while batch := await self._wait_for_batch(connection):
                    if await self._flush(connection, batch):
                        await self._connect_anew(connection)
                        batch = []
                        break
                    batch = []
            finally:
                await self.connection_pool.release(connection)
        except asyncio.CancelledError:
            _fail([*batch, *self._all_pending()], theirs.ConnectionError("the client was closed"))
            raise
        except Exception as error:
            # No connection is to be had: fail what is pending. One broke: fail what was on it.
            self.hear(error)
            if len(batch) > 1:
                self._batch_limit = max(1, len(batch) // 4)
            _fail(batch or self._all_pending(), error)
        finally:
            # Not by a callback of the task: between its end and that, nobody would write.
            self._writers.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if self._pending:
                self._wake_writer()

    async def _wait_for_batch(self, connection: PatientConnection) -> list[_PendingCommand]:
        """Return the next batch; none when nothing has come for a while, or the connection is gone.

        The latter is looked at only after a pause: a server that hangs up at once is an error.
        """
        if not self._pending:
            await self._keep_alive()
            if _was_closed(connection):
                return []
        return self._next_batch()

    async def _keep_alive(self) -> None:
        """Wait until this writer is woken, for KEEP_ALIVE_S at most."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        self._idle.append(woken)
        timer = loop.call_later(KEEP_ALIVE_S, resolve, woken, None)
        try:
            await woken
        finally:
            timer.cancel()
            if woken in self._idle:
                self._idle.remove(woken)

    def _next_batch(self) -> list[_PendingCommand]:
        """Return the first pending command, and those after it within all limits."""
        pending, batch, sent, received = self._pending, list[_PendingCommand](), 0, 0
        while pending and len(batch) < self._batch_limit:
            sent += len(pending[0].packed)
            received += pending[0].reply_bytes
            if batch and (sent > BATCH_BYTES or received > REPLY_BYTES):
                break
            batch.append(pending.popleft())
        return batch

    def _all_pending(self) -> list[_PendingCommand]:
        pending = list(self._pending)
        self._pending.clear()
        return pending

    async def _flush(self, connection: PatientConnection, batch: Sequence[_PendingCommand]) -> bool:
        """Send a batch in one write, and give each command its answer.

        Return whether the server says that it is a replica.
        """
        sent, is_replica = b"".join([pending.packed for pending in batch]), False
        replicas, wait_ms = (max(each) for each in zip(*(one.wait for one in batch), strict=True))
        if replicas:
            sent += packed(("WAIT", replicas, wait_ms))
        async with connection.patience(self._timeout_s + wait_ms / 1000, len(sent)):
            await connection.send_packed_command(sent, check_health=False)
            replies = list[list[object]]()
            for pending in batch:
                answers = [await _answer(connection) for _ in range(pending.together or 1)]
                refusals = [answer for answer in answers if isinstance(answer, Exception)]
                is_replica = is_replica or any(map(says_replica, refusals))
                replies.append(answers)
                if not pending.wait[0]:
                    resolve(pending.answer, answers if pending.together else answers[0])
            if replicas:
                had = await _replicas(connection)
                for pending, answers in zip(batch, replies, strict=True):
                    resolve(pending.answer, [*answers, had])
        self._batch_limit = min(BATCH_LIMIT, self._batch_limit + 1)
        return is_replica

    async def _connect_anew(self, connection: PatientConnection) -> None:
        """Drop this connection and the idle ones: behind the address there is another primary."""
        await connection.disconnect()
        await self.connection_pool.disconnect(inuse_connections=False)
        self.changes.rise()

    async def _in_time(self, awaitable: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await awaitable
        except TimeoutError:
            has_tls = issubclass(self.connection_pool.connection_class, SSLConnection)
            hint = f"; {NO_TLS}" if has_tls else ""
            raise theirs.TimeoutError(f"no connection within {self._timeout_s:g} s{hint}") from None


def _was_closed(connection: AbstractConnection) -> bool:
    """Say whether the server has closed it, as far as the event loop has heard."""
    reader = connection._reader
    return reader is None or reader.at_eof()


def _name(pool: ConnectionPool) -> str:
    to = pool.connection_kwargs
    return str(to["path"]) if "path" in to else f"{to.get('host')}:{to.get('port')}"


def _fail(batch: Sequence[_PendingCommand], error: Exception) -> None:
    for pending in batch:
        resolve(pending.answer, error)


async def _answer(connection: PatientConnection) -> object:
    try:
        return await connection.read_response(timeout=math.inf)
    except theirs.ResponseError as error:
        return error


async def _replicas(connection: PatientConnection) -> object:
    """Return the answer of a WAIT."""
    began_s = time.perf_counter()
    had = await _answer(connection)
    REPLICAS_S.observe(time.perf_counter() - began_s)
    return had
