"""A real Sentinel service, and Sentinels that are dead, lie, hang or know nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute

from everfold.streams.connections.client import LedgerRedis
from everfold.streams.errors import (
    NoServer,
    ServerRefusesAccess,
    ServerUnreachable,
    Unavailable,
)
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.server import open_redis
from tests.support.groups.sentinels import SERVICE, Sentinels, StartSentinels
from tests.support.network import resp
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]

READ = ("XREAD", "BLOCK", 60_000, "STREAMS", "s", "$")


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[LedgerRedis]:
    redis = await open_redis(url, name="test")
    try:
        yield redis
    finally:
        await redis.aclose()


@contextlib.asynccontextmanager
async def fake_sentinel(named: bytes | None) -> AsyncIterator[str]:
    """Answer all questions for the primary with `named`; hang where it is None."""

    async def answer(stream: ByteStream) -> None:
        async with stream:
            rest = b""
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    requests, rest = resp.split(rest + await stream.receive())
                    for request in requests:
                        if named is None:
                            continue
                        is_asked = b"GET-MASTER" in request
                        await stream.send(named if is_asked else b"*-1\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


async def test_writes_go_on_at_the_next_primary_and_the_reader_moves_with_them(
    redis_sentinels: Sentinels,
) -> None:
    old = redis_sentinels.primary
    async with opened(redis_sentinels.url) as redis:
        await command(redis, "SET", "k", "1")
        assert redis.node_of("k") == str(old)
        reader, since = redis.blocking("s", name="reader", block_s=60.0), redis.version
        reading = asyncio.create_task(command(reader, *READ))
        await eventually(lambda: reader.connection_pool._in_use_connections)
        await redis_sentinels.until_settled()
        old.freeze()
        began_s = time.monotonic()
        await with_retry(lambda: command(redis, "SET", "k", "2"), 30.0)
        took_s = time.monotonic() - began_s
        with pytest.raises(Unavailable):
            await asyncio.wait_for(reading, 5.0)
        assert redis.version > since
        assert redis.node_of("k") == str(redis_sentinels.primary) != str(old)
        old.thaw()
        assert await command(reader, "XADD", "s", "*", "f", "v")
        assert await command(redis, "GET", "k") == b"2"
        await reader.aclose()
        assert took_s < 15.0


@pytest.mark.parametrize("how", ["planned", "killed"])
async def test_nothing_is_left_at_the_former_primary(redis_sentinels: Sentinels, how: str) -> None:
    old = redis_sentinels.primary
    async with opened(redis_sentinels.url) as redis:
        await command(redis, "SET", "k", "1")
        await redis_sentinels.until_settled()
        since = redis.version
        if how == "planned":
            await redis_sentinels.failover()
        else:
            old.kill()
        await asyncio.wait_for(redis.changed(since), 20.0)
        await with_retry(lambda: command(redis, "SET", "k", "2"), 20.0)
        assert redis.node_of("k") == str(redis_sentinels.primary) != str(old)
        if how == "planned":
            assert b"name=test" not in old.text("CLIENT", "LIST").encode()


async def test_sentinels_that_are_dead_lie_hang_or_know_nothing(
    redis_sentinels: Sentinels,
) -> None:
    replica = redis_sentinels.replicas[0]
    port = str(replica.place.port).encode()
    lie = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%b\r\n" % (len(port), port)
    async with (
        fake_sentinel(lie) as liar,
        fake_sentinel(None) as hung,
        fake_sentinel(b"*-1\r\n") as ignorant,
    ):
        good = str(redis_sentinels.sentinels[0])
        for hosts in (f"{liar},{good}", f"127.0.0.1:1,{hung},{ignorant},{good}", f"{liar},{hung}"):
            began_s = time.monotonic()
            url = f"redis+sentinel://{hosts}/{SERVICE}"
            async with opened(url) as redis:
                if good in hosts:
                    assert await command(redis, "SET", "k", "1") == b"OK"
                else:
                    with pytest.raises(ServerUnreachable, match="says that it is none"):
                        await command(redis, "SET", "k", "1")
            assert time.monotonic() - began_s < 6.0
        async with opened(f"redis+sentinel://{hung},127.0.0.1:1/{SERVICE}") as redis:
            with pytest.raises(ServerUnreachable, match="1 did not answer"):
                await command(redis, "GET", "k")
        async with opened(f"redis+sentinel://{good},{ignorant}/other") as redis:
            with pytest.raises(NoServer, match="no Sentinel knows"):
                await command(redis, "GET", "k")


async def test_a_url_of_several_servers_that_names_one_says_which_url_to_write(
    own_server: StartServer,
) -> None:
    place = own_server(tcp=True).url.partition("://")[2].partition("/")[0]
    for url, said in (
        (f"redis+sentinel://{place}/{SERVICE}", "write redis:// for this server"),
        (f"redis+cluster://{place}", "no node of a cluster: write redis://"),
    ):
        with pytest.raises(NoServer, match=said):
            async with opened(url) as redis:
                await command(redis, "GET", "k")


async def test_each_layer_has_its_password_and_says_which_one_is_wrong(
    own_sentinels: StartSentinels,
) -> None:
    group = own_sentinels(0, 1)
    group.sentinels[0].ask(
        "ACL", "SETUSER", "watch", "on", ">of%2Fsentinels", "allchannels", "+subscribe", "+ping",
        "+client|setname", "+sentinel|get-master-addr-by-name",
    )  # fmt: skip
    group.sentinels[0].ask("ACL", "SETUSER", "default", "off")
    rights = ("~*", "+@all", "-role", "-@dangerous")
    group.servers[0].ask("ACL", "SETUSER", "ada", "on", ">of-data", *rights)
    hosts = f"{group.sentinels[0]}/{SERVICE}"
    good = "sentinel_user=watch&sentinel_password=of%252Fsentinels"
    async with opened(f"redis+sentinel://ada:of-data@{hosts}?{good}") as redis:
        assert await command(redis, "SET", "k", "1") == b"OK"
    async with opened(f"redis+sentinel://ada:of-data@{hosts}") as redis:
        with pytest.raises(ServerRefusesAccess, match="sentinel_password"):
            await command(redis, "SET", "k", "1")
    async with opened(f"redis+sentinel://ada:of-data@{hosts}?{good}x") as redis:
        with pytest.raises(ServerRefusesAccess, match="sentinel_password"):
            await command(redis, "SET", "k", "1")
    async with opened(f"redis+sentinel://ada:wrong@{hosts}?{good}") as redis:
        with pytest.raises(ServerRefusesAccess, match="user or the password in the URL"):
            await command(redis, "SET", "k", "1")
