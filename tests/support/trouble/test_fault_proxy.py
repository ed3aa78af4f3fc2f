from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.support.servers import StartServer
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(redis_url) as proxy:
        yield proxy


@pytest.fixture
async def redis(proxy: FaultProxy) -> AsyncIterator[Redis]:
    async with _client(proxy.url) as redis:
        yield redis


def _client(url: str, timeout_s: float = 5.0) -> Redis:
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s)


@pytest.fixture
def key(namespace: str) -> str:
    return f"{{{namespace}:0}}:key"


async def test_without_faults_everything_passes(redis: Redis, key: str) -> None:
    large = bytes(range(256)) * 8192
    await redis.set(key, large)

    async with redis.pipeline() as pipeline:
        for _ in range(200):
            pipeline.strlen(key)
        assert await pipeline.execute() == [len(large)] * 200
    assert await redis.get(key) == large


async def test_errors_are_answered_in_turn_and_the_server_gets_no_such_request(
    proxy: FaultProxy, redis: Redis, key: str
) -> None:
    await redis.ping()
    rule = proxy.answer_errors("OOM no room", "ERR nobody knows", containing=b"SET")
    async with redis.pipeline(transaction=False) as pipeline:
        for _ in range(3):
            pipeline.set(key, "x")
            pipeline.get(key)
        answers = await pipeline.execute(raise_on_error=False)
    assert [str(answer) for answer in answers[::2]] == ["no room", "nobody knows", "no room"]
    assert answers[1::2] == [None, None, None]
    proxy.lift()
    await redis.set(key, "x")
    assert (await redis.get(key), rule.hits, proxy.accepted) == (b"x", 3, 1)


async def test_it_stands_before_tcp_and_unix_servers(own_server: StartServer) -> None:
    for server in (own_server(tcp=True), own_server(tcp=False)):
        async with FaultProxy(server.url) as proxy, _client(proxy.url) as redis:
            assert await redis.ping()
        assert proxy.accepted == 1


async def test_the_url_keeps_credentials_and_database() -> None:
    async with FaultProxy("redis://user:secret@127.0.0.1:1/3") as proxy:
        assert proxy.url == f"redis://user:secret@127.0.0.1:{proxy.port}/3"


async def test_a_swallowed_reply_is_lost_after_the_request_was_executed(
    proxy: FaultProxy, redis: Redis, key: str
) -> None:
    rule = proxy.swallow_replies(1, containing=b"INCR")
    await redis.get(key)

    with pytest.raises(RedisConnectionError):
        await redis.incr(key)

    await rule.used_up()
    assert (await redis.get(key), rule.hits) == (b"1", 1)


async def test_replies_before_a_swallowed_one_still_arrive(
    proxy: FaultProxy, redis: Redis, key: str
) -> None:
    proxy.swallow_replies(1, containing=b"APPEND")
    commands = [["SET", key, "a"], ["APPEND", key, "b"], ["APPEND", key, "c"]]

    async with await anyio.connect_tcp(proxy.host, proxy.port) as stream:
        await stream.send(b"".join(_encoded(command) for command in commands))
        assert await stream.receive() == b"+OK\r\n"
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()

    assert await redis.get(key) == b"abc"


def _encoded(command: list[str]) -> bytes:
    words = "".join(f"${len(word)}\r\n{word}\r\n" for word in command)
    return f"*{len(command)}\r\n{words}".encode()


async def test_a_dropped_request_never_reaches_the_server(
    proxy: FaultProxy, redis: Redis, key: str
) -> None:
    rule = proxy.drop_requests(2, containing=b"INCR")

    for _ in range(2):
        with pytest.raises(RedisConnectionError):
            await redis.incr(key)

    await rule.used_up()
    assert await redis.incr(key) == 1


async def test_a_rule_that_never_matches_is_an_error(proxy: FaultProxy, redis: Redis) -> None:
    rule = proxy.swallow_replies(1, containing=b"NEVER")
    await redis.ping()

    with pytest.raises(TimeoutError):
        await rule.used_up(within_s=0.05)


async def test_cut_closes_open_connections_and_accepts_new_ones(
    proxy: FaultProxy, redis: Redis
) -> None:
    async with redis.client() as held:
        await held.ping()

        assert proxy.cut() == 1
        await eventually(lambda: proxy.connections == 0)

        with pytest.raises(RedisConnectionError):
            await held.ping()
        assert await redis.ping()
    assert proxy.accepted >= 2


async def test_cut_ends_a_read_that_blocks(proxy: FaultProxy, redis: Redis, key: str) -> None:
    async def cut_when_connected() -> None:
        await eventually(lambda: proxy.connections == 1)
        proxy.cut()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut_when_connected)
        with pytest.raises(RedisConnectionError):
            await redis.xread({key: "$"}, block=4000)


async def test_refused_connections_fail_at_once_and_open_ones_stay(
    proxy: FaultProxy, redis: Redis
) -> None:
    await redis.ping()
    await proxy.refuse()

    assert await redis.ping()
    async with _client(proxy.url) as other:
        with pytest.raises(RedisConnectionError, match=r"Error \d+ connecting"):
            await other.ping()
        await proxy.accept()
        assert await other.ping()


async def test_refusing_and_welcoming_twice_is_the_same_as_once(
    proxy: FaultProxy, redis: Redis
) -> None:
    for turn in (proxy.refuse, proxy.refuse, proxy.accept, proxy.accept):
        await turn()

    assert await redis.ping()


async def test_a_black_hole_is_silent_and_delivers_after_it_is_healed(
    proxy: FaultProxy, key: str, redis_url: str
) -> None:
    async with _client(proxy.url, timeout_s=0.2) as impatient, _client(redis_url) as direct:
        await impatient.ping()
        proxy.black_hole()

        with pytest.raises(RedisTimeoutError):
            await impatient.incr(key)
        assert await direct.get(key) is None

        await proxy.heal()
        assert await impatient.ping()


async def test_a_black_hole_for_replies_lets_the_request_arrive(
    proxy: FaultProxy, key: str, redis_url: str
) -> None:
    async with _client(proxy.url, timeout_s=0.2) as impatient, _client(redis_url) as direct:
        await impatient.ping()
        proxy.black_hole(requests=False)

        with pytest.raises(RedisTimeoutError):
            await impatient.incr(key)

        assert await direct.get(key) == b"1"


async def test_latency_is_added_in_both_directions(proxy: FaultProxy, redis: Redis) -> None:
    await redis.ping()
    proxy.latency_s = 0.05
    before = time.monotonic()

    await redis.ping()

    assert time.monotonic() - before >= 0.1


async def test_a_throttle_slows_large_values(proxy: FaultProxy, redis: Redis, key: str) -> None:
    await redis.ping()
    proxy.bytes_per_s = 100_000
    before = time.monotonic()

    await redis.set(key, b"x" * 30_000)

    assert time.monotonic() - before >= 0.25


async def test_heal_lifts_all_faults(proxy: FaultProxy, redis: Redis) -> None:
    proxy.swallow_replies(5)
    proxy.black_hole()
    proxy.latency_s = 60
    await proxy.refuse()

    await proxy.heal()

    assert await redis.ping()
    assert proxy.hits == 0


async def test_a_server_that_is_down_closes_the_clients_connection(
    own_server: StartServer,
) -> None:
    server = own_server()
    async with FaultProxy(server.url) as proxy, _client(proxy.url) as redis:
        await redis.ping()
        server.kill()
        for _ in range(2):
            with pytest.raises(RedisConnectionError):
                await redis.ping()

        server.start()
        assert await redis.ping()


async def test_an_error_of_the_test_is_not_wrapped_in_a_group(redis_url: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with FaultProxy(redis_url):
            _ = 1 / 0


async def test_a_deadline_round_the_proxy_still_works(redis_url: str) -> None:
    with anyio.move_on_after(0.05) as deadline:
        async with FaultProxy(redis_url):
            await anyio.sleep_forever()

    assert deadline.cancelled_caught
