"""Connections to the server: how they pack, how long they wait, how often they were opened.

Rule: a time-out is for silence. Bytes that come begin it anew, and bytes that were sent have the
time that a slow link needs for them: a large command or reply makes progress.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, SupportsIndex, cast

import hiredis
import redis.exceptions as theirs
from redis._parsers.base import BaseParser
from redis.asyncio import BlockingConnectionPool, ConnectionPool
from redis.asyncio.connection import AbstractConnection, SSLConnection

from everfold.streams.connections.replies import is_passing
from everfold.streams.connections.tls_errors import HUNG_UP

Argument = str | bytes | int

SLOWEST_BYTES_PER_S = 64 * 1024
"""The slowest link that a large command gets through: half a megabit per second."""

NEARLY = 0.9
"""A time-out that has more than this part of itself left is not begun anew: that costs time."""


def packed(arguments: Sequence[Argument]) -> bytes:
    """Return a command as it is sent. redis-py's own packer takes five times as long."""
    name, *rest = arguments
    words = name.split() if isinstance(name, str) else [name]  # such as XGROUP CREATE
    return cast("bytes", hiredis.pack_command((*words, *rest)))


class PatientConnection(AbstractConnection):
    """What Everfold changes in redis-py's connections; `patient` mixes it into one of their kinds.

    It counts how often it is opened: only on a new one can a server be met that started anew.
    """

    opened = 0
    shown_name = ""
    """What CLIENT LIST is to show."""
    has_name = True
    """False once the server has refused the name."""
    heard: Callable[[Exception], None] | None = None
    """Called with each error reply, before its command gets it."""
    _limit: asyncio.Timeout | None = None
    _silence_s = 0.0

    async def _connect(self) -> None:
        if isinstance(self, SSLConnection):
            self.ssl_context.context = None  # certificates are renewed: read their files again
        await super()._connect()  # type: ignore[safe-super, no-untyped-call]  # its kind has it
        type(self).opened += 1
        reader = cast("asyncio.StreamReader", self._reader)
        feed = reader.feed_data

        def heard(data: Iterable[SupportsIndex]) -> None:
            self._wait_on()
            feed(data)

        # The one place that sees all bytes when they come.
        reader.feed_data = heard  # type: ignore[method-assign]
        self._parser.parse_error = self._noted_error  # type: ignore[method-assign]

    def _noted_error(self, reply: str) -> Exception:
        error, heard = reply_error(reply), type(self).heard
        if heard is not None:
            heard(error)
        return error

    def cut(self) -> None:
        """End the connection at once: who waits for an answer gets a ConnectionError."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        try:
            await super().on_connect_check_health(check_health)
            await self._show_name()
        except theirs.ConnectionError as error:
            if isinstance(self, SSLConnection) and type(error) is theirs.ConnectionError:
                raise theirs.ConnectionError(f"{HUNG_UP} ({error})") from None
            raise

    async def _show_name(self) -> None:
        if not self.shown_name:
            return
        await self.send_command("CLIENT", "SETNAME", self.shown_name, check_health=False)
        try:
            await self.read_response()
            type(self).has_name = True
        except theirs.ResponseError as error:
            if says_later(error):
                raise  # a connection without its name would look like the death of its process
            type(self).has_name = False  # managed servers refuse CLIENT: only the name is lost

    def pack_command(self, *arguments: Argument) -> list[bytes]:  # type: ignore[override]
        return [packed(arguments)]

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """As redis-py's, also where the socket is closed: uvloop says that in its own way."""
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise theirs.ConnectionError(f"the connection was closed: {error}") from error

    async def read_response(
        self, disable_decoding: bool = False, timeout: float | None = None, **options: Any
    ) -> Any:
        """As redis-py's, but `socket_timeout` is the longest silence within a reply."""
        wait = super().read_response
        silence_s: float | None = self.socket_timeout
        if timeout is not None or silence_s is None:
            return await wait(disable_decoding, timeout, **options)
        async with self.patience(silence_s):
            return await wait(disable_decoding, math.inf, **options)

    @contextlib.asynccontextmanager
    async def patience(self, silence_s: float, sent_bytes: int = 0) -> AsyncIterator[None]:
        """Raise redis-py's TimeoutError inside once nothing has come for `silence_s` seconds.

        What was sent may still be on its way: its time on the slowest link is added.
        """
        first_s = silence_s + sent_bytes / SLOWEST_BYTES_PER_S
        try:
            async with asyncio.timeout(first_s) as self._limit:
                self._silence_s = silence_s
                yield
        except TimeoutError:
            raise theirs.TimeoutError(f"no answer within {silence_s:g} s") from None
        finally:
            self._limit = None

    def _wait_on(self) -> None:
        """Begin the time-out anew: something has come."""
        limit, now_s = self._limit, asyncio.get_running_loop().time()
        if limit is None or limit.expired():
            return
        if (limit.when() or 0.0) - now_s < self._silence_s * NEARLY:
            limit.reschedule(now_s + self._silence_s)


def patient(kind: type[AbstractConnection], name: str = "") -> type[AbstractConnection]:
    """Return a class of its own for one client, so that it counts that client's connections."""
    bases = (kind,) if issubclass(kind, PatientConnection) else (PatientConnection, kind)
    return type(kind.__name__, bases, {"opened": 0, "shown_name": name})


def pool_like(pool: ConnectionPool, *, name: str, timeout_s: float) -> BlockingConnectionPool:
    """Return a pool of its own for connections to where those of `pool` go.

    `name` is what CLIENT LIST shows, `timeout_s` the longest silence that they bear.
    """
    return BlockingConnectionPool(
        connection_class=patient(pool.connection_class, name),
        max_connections=pool.max_connections,
        timeout=None,
        **{**pool.connection_kwargs, "socket_timeout": timeout_s},
    )


def cut_all(pool: ConnectionPool, but: AbstractConnection | None = None) -> None:
    """End all connections of a pool at once. It opens new ones when they are asked for."""
    for connection in (*pool._available_connections, *pool._in_use_connections):
        if connection is not but:
            cast("PatientConnection", connection).cut()


def reply_error(reply: str) -> Exception:
    """Return redis-py's exception for an error reply; its own parser fails at some of MOVED."""
    try:
        return cast("Exception", BaseParser.parse_error(reply))  # type: ignore[no-untyped-call]
    except ValueError:
        return theirs.ResponseError(reply)


def says_later(error: Exception) -> bool:
    """Say whether a server refuses everything for now, or everybody from this machine."""
    text = str(error)
    return text.startswith("DENIED") or is_passing(text)


def says_replica(error: Exception) -> bool:
    """Say whether the server is, or becomes, a replica: another one is the primary now."""
    is_named = isinstance(error, theirs.ReadOnlyError | theirs.MasterDownError)
    return is_named or str(error).startswith(("READONLY", "UNBLOCKED force", "MASTERDOWN"))
