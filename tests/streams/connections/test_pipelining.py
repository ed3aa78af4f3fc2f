"""Commands that travel together: each gets its own answer, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import anyio
import pytest

from everfold.streams.connections.pipelining import (
    BATCH_LIMIT,
    WRITERS,
    PipeliningRedis,
    _was_closed,
)
from everfold.streams.errors import ClientClosed, ServerError, ServerUnreachable
from everfold.streams.redis.redis_errors import command, commands
from everfold.streams.redis.server import connect, server_info
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

MANY = 3 * BATCH_LIMIT + 1


@pytest.fixture
async def redis(server_url: str) -> AsyncIterator[PipeliningRedis]:
    client = connect(server_url)
    yield client
    await client.aclose()


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server_url) as proxy:
        yield proxy


async def echoes(redis: PipeliningRedis, count: int) -> list[object]:
    """Ask for so many different answers in one turn of the loop; errors are answers too."""
    asked = (command(redis, "ECHO", str(number)) for number in range(count))
    return await asyncio.gather(*asked, return_exceptions=True)


async def reads(redis: PipeliningRedis) -> int:
    """Return how often the server has read from a socket."""
    return int((await server_info(redis, "stats"))["total_reads_processed"])


async def test_commands_that_belong_together_are_answered_together(
    redis: PipeliningRedis, namespace: str
) -> None:
    key = f"{namespace}:counter"
    together = [redis.execute_together(("INCR", key), ("WAIT", 0, 0), ("NOSUCH",)) for _ in "abc"]
    answers = await asyncio.gather(*together, echoes(redis, 5))

    assert [one[0] for one in answers[:3]] == [1, 2, 3]
    assert all(isinstance(one[2], Exception) for one in answers[:3])
    assert answers[3] == [b"0", b"1", b"2", b"3", b"4"]


async def test_commands_of_one_moment_are_read_by_the_server_at_once(
    redis: PipeliningRedis,
) -> None:
    before = await reads(redis)
    await echoes(redis, BATCH_LIMIT)
    together = await reads(redis) - before
    for number in range(BATCH_LIMIT):
        await command(redis, "ECHO", str(number))
    one_by_one = await reads(redis) - before - together

    assert together < BATCH_LIMIT / 8
    assert one_by_one >= BATCH_LIMIT


async def test_each_caller_gets_its_own_answer(redis: PipeliningRedis) -> None:
    assert await echoes(redis, MANY) == [str(number).encode() for number in range(MANY)]


async def test_few_connections_carry_everything(redis: PipeliningRedis) -> None:
    async def ask() -> None:
        for _ in range(5):
            await command(redis, "PING")

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)

    assert len(redis.connection_pool._available_connections) <= WRITERS


async def test_a_refused_command_is_its_own_callers_only(redis: PipeliningRedis) -> None:
    await command(redis, "DEL", "text")
    await command(redis, "SET", "text", "a")

    first, refused, last = await asyncio.gather(
        command(redis, "APPEND", "text", "b"),
        command(redis, "INCR", "text"),
        command(redis, "GET", "text"),
        return_exceptions=True,
    )

    assert (first, last) == (2, b"ab")
    assert isinstance(refused, ServerError)


async def test_a_command_that_cannot_be_sent_harms_no_other(redis: PipeliningRedis) -> None:
    bad = cast("str", object())

    pong, refused = await asyncio.gather(
        command(redis, "PING"), command(redis, "ECHO", bad), return_exceptions=True
    )

    assert pong == b"PONG"
    assert isinstance(refused, TypeError)


async def test_many_commands_of_one_caller_are_answered_in_their_order(
    redis: PipeliningRedis,
) -> None:
    asked = [("ECHO", str(number)) for number in range(MANY)]
    assert await commands(redis, asked) == [str(number).encode() for number in range(MANY)]
    assert await commands(redis, []) == []


async def test_of_many_commands_the_first_error_is_raised_when_all_are_over(
    redis: PipeliningRedis,
) -> None:
    with pytest.raises(ServerError, match="no such key"):
        await commands(
            redis, [("DEL", "made"), ("LSET", "none", 0, "x"), ("HGET", "a"), ("SET", "made", "1")]
        )
    assert await command(redis, "GET", "made") == b"1"


async def test_a_cancelled_caller_leaves_the_others_their_answers(redis: PipeliningRedis) -> None:
    asked = [asyncio.ensure_future(command(redis, "ECHO", str(number))) for number in range(9)]
    await asyncio.sleep(0)

    asked[4].cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert isinstance(answers.pop(4), asyncio.CancelledError)
    assert answers == [str(number).encode() for number in range(9) if number != 4]


async def test_a_command_does_not_wait_behind_a_long_one(redis: PipeliningRedis) -> None:
    long = asyncio.ensure_future(command(redis, "BLPOP", "nothing", "3"))
    await eventually(lambda: _blocked(redis))

    assert await command(redis, "PING") == b"PONG"
    assert not long.done()
    await command(redis, "RPUSH", "nothing", "here")
    assert await long == [b"nothing", b"here"]


async def _blocked(redis: PipeliningRedis) -> bool:
    return (await server_info(redis, "clients"))["blocked_clients"] != "0"


async def test_all_on_a_cut_connection_learn_of_it_and_the_next_ones_arrive(
    proxy: FaultProxy,
) -> None:
    redis = connect(proxy.url)
    await command(redis, "PING")
    proxy.swallow_replies(containing=b"5")

    answers = await echoes(redis, 9)

    assert [type(answer) for answer in answers[5:]] == [ServerUnreachable] * 4
    for number, answer in enumerate(answers[:5]):
        assert isinstance(answer, ServerUnreachable) or answer == str(number).encode()
    assert await echoes(redis, 3) == [b"0", b"1", b"2"]
    await redis.aclose()


async def test_without_a_server_every_caller_is_told_and_the_next_ones_arrive(
    proxy: FaultProxy,
) -> None:
    redis = connect(proxy.url)
    await proxy.refuse()
    assert {type(answer) for answer in await echoes(redis, MANY)} == {ServerUnreachable}

    await proxy.accept()
    assert await echoes(redis, 1) == [b"0"]
    await redis.aclose()


async def test_silence_ends_all_waits_at_once(proxy: FaultProxy) -> None:
    redis = connect(proxy.url, timeout_s=0.3)
    await command(redis, "PING")
    proxy.black_hole()

    with anyio.fail_after(3):
        answers = await echoes(redis, MANY)

    assert {type(answer) for answer in answers} == {ServerUnreachable}
    assert "no answer within 0.3 s" in str(answers[0])
    proxy.lift()
    assert await echoes(redis, 1) == [b"0"]
    await redis.aclose()


async def test_silence_at_the_first_connection_ends_all_waits(proxy: FaultProxy) -> None:
    redis = connect(proxy.url, timeout_s=0.3)
    proxy.black_hole()

    with anyio.fail_after(3):
        answers = await echoes(redis, 3)

    assert {type(answer) for answer in answers} == {ServerUnreachable}
    await redis.aclose()


async def test_a_connection_that_was_cut_while_nothing_was_asked_goes_unnoticed(
    proxy: FaultProxy,
) -> None:
    redis = connect(proxy.url)
    for is_carried_at_once in (True, False):
        await command(redis, "PING")
        if not is_carried_at_once:
            await eventually(lambda: not redis._writers)

        proxy.cut()

        await eventually(lambda: proxy.connections == 0 and not _open_connections(redis))
        assert await echoes(redis, 2) == [b"0", b"1"]
    await redis.aclose()


def _open_connections(redis: PipeliningRedis) -> list[object]:
    """Return the connections of writers that have not heard yet that they were closed."""
    return [one for one in redis.connection_pool._in_use_connections if not _was_closed(one)]


async def test_closing_the_client_ends_all_waits(proxy: FaultProxy) -> None:
    redis = connect(proxy.url)
    await command(redis, "PING")
    proxy.black_hole()
    asked = asyncio.ensure_future(echoes(redis, MANY))
    await eventually(lambda: 0 < len(redis._pending) < MANY)

    with anyio.fail_after(3):
        await redis.aclose()
        answers = await asked

    assert {type(answer) for answer in answers} == {ServerUnreachable}


async def test_a_closed_client_opens_no_connection(proxy: FaultProxy) -> None:
    redis = connect(proxy.url)
    await command(redis, "PING")
    await redis.aclose()
    await eventually(lambda: proxy.connections == 0)
    opened = redis.connections_opened()

    with pytest.raises(ClientClosed):
        await command(redis, "PING")
    with pytest.raises(ClientClosed):
        await redis.execute_together(("PING",), ("WAIT", 0, 0))
    assert redis.connections_opened() == opened
