"""The parts of redis-py that Everfold uses and redis-py does not promise: one test for each.

Where a newer redis-py has changed one of them, the failure says what of ours needs it.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import anyio
import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from everfold.streams.connections.connection import packed
from everfold.streams.redis.server import connect
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

Test = Callable[..., Awaitable[None]]


def needed_by(what: str) -> Callable[[Test], Test]:
    """Have a test's failure, of whatever kind, say what depends on what it shows."""

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        async def noting(**fixtures: object) -> None:
            try:
                await test(**fixtures)
            except BaseException as error:
                error.add_note(f"Everfold needs this: {what}")
                raise

        return noting

    return decorate


@pytest.fixture
async def pool(server_url: str) -> AsyncIterator[BlockingConnectionPool]:
    """A pool as server.py makes it, but for one connection, without anything of ours in it."""
    pool = BlockingConnectionPool.from_url(
        server_url, max_connections=1, timeout=None, protocol=2, socket_timeout=5.0
    )
    yield pool
    await pool.disconnect()


@pytest.fixture
async def connection(pool: BlockingConnectionPool) -> AsyncIterator[AbstractConnection]:
    connection = await take(pool)
    yield connection
    await pool.release(connection)


@pytest.fixture
async def other(server_url: str) -> AsyncIterator[Redis]:
    """Another client, to act on the connections of the first."""
    async with Redis.from_url(server_url) as other:
        yield other


async def take(pool: BlockingConnectionPool) -> AbstractConnection:
    return cast("AbstractConnection", await pool.get_connection())  # type: ignore[no-untyped-call]


async def ask(connection: AbstractConnection, *arguments: str) -> object:
    await connection.send_packed_command(packed(arguments), check_health=False)
    return await connection.read_response()


async def hang_up(connection: AbstractConnection, other: Redis) -> None:
    """Have the server close the connection, and wait until that has arrived."""
    number = await ask(connection, "CLIENT", "ID")
    await cast("Awaitable[object]", other.execute_command("CLIENT", "KILL", "ID", number))  # type: ignore[no-untyped-call]
    reader = connection._reader
    assert reader is not None
    await eventually(reader.at_eof)


@needed_by("pipelining._was_closed looks at it, so that no command is sent to a closed connection")
async def test_a_connection_s_reader_says_that_the_server_has_hung_up(
    connection: AbstractConnection, other: Redis
) -> None:
    assert isinstance(connection._reader, asyncio.StreamReader)
    assert not connection._reader.at_eof()
    await hang_up(connection, other)
    await connection.disconnect()
    assert connection._reader is None


@needed_by("pipelining._flush sends many commands as one piece of bytes")
async def test_packed_bytes_are_sent_as_they_are(connection: AbstractConnection) -> None:
    many = b"".join(packed(("ECHO", str(number))) for number in range(3))

    await connection.send_packed_command(many, check_health=False)

    assert [await connection.read_response() for _ in range(3)] == [b"0", b"1", b"2"]


@needed_by("pipelining has one time-out for a whole batch, and no second one for each answer")
async def test_an_endless_time_out_is_longer_than_that_of_the_socket(
    connection: AbstractConnection, namespace: str
) -> None:
    blocking = packed(("BLPOP", namespace, "0.2"))
    connection.socket_timeout = 0.05

    await connection.send_packed_command(blocking, check_health=False)
    assert await connection.read_response(timeout=math.inf) is None
    await connection.send_packed_command(blocking, check_health=False)
    with pytest.raises(RedisTimeout):
        await connection.read_response()


@needed_by("pipelining._answer takes an error for the answer to one command of a batch")
async def test_an_error_is_one_answer_and_the_next_ones_follow(
    connection: AbstractConnection,
) -> None:
    await connection.send_packed_command(packed(("NONSENSE",)) + packed(("ECHO", "after")))

    with pytest.raises(ResponseError):
        await connection.read_response(timeout=math.inf)
    assert await connection.read_response(timeout=math.inf) == b"after"


@needed_by(
    "server._Connection is mixed into pool.connection_class and counts the calls of _connect: "
    "a server that has started anew is noticed by that"
)
async def test_a_pool_opens_connections_of_the_class_that_it_is_given_by_connect(
    pool: BlockingConnectionPool, other: Redis
) -> None:
    opened = list[str]()

    class Counting(pool.connection_class):  # type: ignore[name-defined, misc]
        async def _connect(self) -> None:
            opened.append(self.__class__.__name__)
            await super()._connect()

    pool.connection_class = Counting
    first = await take(pool)
    await pool.release(first)
    assert opened == ["Counting"]
    await pool.release(await take(pool))
    assert opened == ["Counting"]
    await first.disconnect()
    await pool.release(await take(pool))
    assert opened == ["Counting"] * 2


@needed_by("server._Connection.pack_command has hiredis pack the commands of blocking reads")
async def test_a_client_sends_what_its_connection_has_packed(
    pool: BlockingConnectionPool,
) -> None:
    seen = list[tuple[object, ...]]()

    class Packing(pool.connection_class):  # type: ignore[name-defined, misc]
        def pack_command(self, *arguments: object) -> list[bytes]:
            seen.append(arguments)
            if arguments[0] == "PING":
                arguments = ("ECHO", "packed by us")
            return [packed(cast("tuple[str, ...]", arguments))]

    pool.connection_class = Packing
    redis = Redis(connection_pool=pool)
    redis.response_callbacks.clear()

    answer = await redis.execute_command("PING")  # type: ignore[no-untyped-call]

    assert answer == b"packed by us"
    assert all(isinstance(part, str | bytes | int) for command in seen for part in command)


@needed_by("server._raw clears them: redis-py would make other values of the scripts' answers")
async def test_without_callbacks_answers_are_what_the_server_sent(
    pool: BlockingConnectionPool, namespace: str
) -> None:
    redis = Redis(connection_pool=pool)
    set_it = ("SET", namespace, "1")

    assert await redis.execute_command(*set_it) is True  # type: ignore[no-untyped-call]
    redis.response_callbacks.clear()
    assert await redis.execute_command(*set_it) == b"OK"  # type: ignore[no-untyped-call]


@needed_by("pipelining._write_all takes a connection of the pool and gives it back when it is idle")
async def test_a_pool_gives_a_connection_to_one_at_a_time_and_has_others_wait(
    pool: BlockingConnectionPool,
) -> None:
    first = await take(pool)
    given = list[AbstractConnection]()

    async def wait() -> None:
        given.append(await take(pool))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert given == []
        await pool.release(first)
    assert given == [first]
    await pool.release(first)


@needed_by("pipelining._write_all sends its first batch without looking at the connection")
async def test_a_pool_gives_no_connection_that_the_server_has_closed(
    pool: BlockingConnectionPool, other: Redis
) -> None:
    connection = await take(pool)
    await hang_up(connection, other)
    await pool.release(connection)

    assert await ask(await take(pool), "ECHO", "open") == b"open"
    await pool.release(connection)


@needed_by("PipeliningRedis sets auto_close_connection_pool, and so closes all when it is closed")
async def test_a_client_that_owns_its_pool_closes_its_connections(
    pool: BlockingConnectionPool,
) -> None:
    redis = Redis(connection_pool=pool)
    redis.auto_close_connection_pool = True
    connection = await take(pool)
    await pool.release(connection)
    assert connection.is_connected

    await redis.aclose()

    assert not connection.is_connected


@needed_by("others see in CLIENT LIST, by its name, whether a runner is connected")
async def test_the_handshake_of_a_named_connection_is_packed_by_us_too(server_url: str) -> None:
    client = connect(server_url)
    redis = client.blocking("", name="everfold:somebody", block_s=1.0)

    name = await redis.execute_command("CLIENT", "GETNAME")  # type: ignore[no-untyped-call]

    assert name == b"everfold:somebody"
    await redis.aclose()
    await client.aclose()


async def test_a_failure_says_what_needs_it() -> None:
    @needed_by("the runner")
    async def failing() -> None:
        raise AttributeError("gone")

    with pytest.raises(AttributeError) as caught:
        await failing()
    assert caught.value.__notes__ == ["Everfold needs this: the runner"]
