"""A real cluster through its client: keys are found, also when they move or nodes die."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import cast

import anyio
import pytest
import redis.exceptions as theirs

from everfold.streams.appending.log import Log
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.errors import ClientClosed, ServerUnreachable, SlotMoved, Unavailable
from everfold.streams.nodes.first_key import UnknownCommand
from everfold.streams.nodes.routed_redis import RoutedRedis
from everfold.streams.nodes.slots import slot_of
from everfold.streams.redis.redis_errors import command, commands
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.server import open_redis
from tests.support.groups.cluster import Cluster, StartCluster
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]

KEYS = [f"key:{number}" for number in range(300)]


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[LedgerRedis]:
    redis = await open_redis(url, name="test")
    try:
        yield redis
    finally:
        await redis.aclose()


async def test_every_key_is_at_its_primary(redis_cluster: Cluster) -> None:
    async with opened(redis_cluster.url) as redis:
        await commands(redis, [("SET", key, key) for key in KEYS])
        found = await commands(redis, [("GET", key) for key in KEYS])
        sizes = [await command(one, "DBSIZE") for one in redis.primaries()]

        assert found == [key.encode() for key in KEYS]
        assert len(sizes) == 3
        assert sum(cast("list[int]", sizes)) == len(KEYS)
        assert min(cast("list[int]", sizes)) > 0
        for key in KEYS[:20]:
            assert redis.node_of(key) == str(redis_cluster.primary_of(key))
            assert await command(redis.at(key), "CLUSTER", "KEYSLOT", key) == slot_of(key)
        sha = await command(redis, "SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])")
        assert isinstance(sha, bytes)
        assert await command(redis, "EVAL", "return redis.call('GET', KEYS[1])", 1, "key:7")
        assert (await redis.execute_together(("SET", "key:7", "x"), ("WAIT", 0, 1)))[0] == b"OK"
        with pytest.raises(ValueError, match="several slots"):
            await redis.execute_together(("SET", "key:7", "x"), ("SET", "key:8", "x"))
        with pytest.raises(UnknownCommand):
            await command(redis, "MIGRATE", "x")
        assert await redis.execute_all([]) == []


async def test_a_closed_client_opens_no_connection(redis_cluster: Cluster) -> None:
    async with opened(redis_cluster.url) as redis:
        await command(redis, "GET", "key:1")
    before = redis.connections_opened()
    for key in KEYS[:20]:  # also of nodes that were asked nothing yet
        with pytest.raises(ClientClosed):
            await command(redis, "GET", key)
    assert redis.connections_opened() == before


async def test_the_plain_url_of_any_node_opens_the_cluster(redis_cluster: Cluster) -> None:
    for node in redis_cluster.nodes:
        async with opened(f"redis://{node}/0") as redis:
            assert isinstance(redis, RoutedRedis)
            assert len(redis.primaries()) == 3


async def test_a_moving_slot_is_followed_from_the_first_key_to_the_last(
    redis_cluster: Cluster,
) -> None:
    slot, tag = slot_of("{a}"), "{a}:"
    target = next(
        one for one in redis_cluster.primaries() if one is not redis_cluster.primary_of("{a}")
    )
    async with opened(redis_cluster.url) as redis, opened(redis_cluster.url) as other:
        await commands(redis, [("SET", f"{tag}{number}", number) for number in range(200)])
        before, lost = redis.version, list[object]()

        async def read() -> None:
            while redis_cluster.primary_of("{a}") is not target:
                try:
                    found = await commands(redis, [("GET", f"{tag}{n}") for n in range(200)])
                    new = await redis.execute_together(("INCR", f"{tag}new"), ("WAIT", 0, 1))
                except Unavailable:
                    continue
                lost.extend(n for n, one in enumerate(found) if one != str(n).encode())
                assert isinstance(new[0], int)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await redis_cluster.move_slot_by_keys(slot, target)

        assert lost == []
        await with_retry(lambda: command(redis, "GET", f"{tag}1"), 5.0)
        assert redis.node_of(f"{tag}1") == str(target)
        assert redis.version > before
        # One that has asked nothing meanwhile learns it by the first command, or by looking.
        assert await command(other, "GET", f"{tag}1") == b"1"
        assert other.node_of("{a}") == str(target)


async def test_a_client_of_a_node_says_that_the_slot_has_moved(redis_cluster: Cluster) -> None:
    async with opened(redis_cluster.url) as redis:
        at = redis.at("{a}")
        target = next(one for one in redis_cluster.primaries() if str(one) != redis.node_of("{a}"))
        await redis_cluster.move_slot_by_keys(slot_of("{a}"), target)
        with pytest.raises(SlotMoved):
            await command(at, "GET", "{a}")
        assert redis.node_of("{a}") == str(target)


async def test_a_blocking_read_ends_when_its_primary_is_killed_and_goes_on_at_the_next(
    redis_cluster: Cluster,
) -> None:
    master = redis_cluster.primary_of("{a}")
    async with opened(redis_cluster.url) as redis:
        await command(redis, "XADD", "{a}:s", "1-1", "f", "v")
        since = redis.version
        reader = redis.blocking("{a}:s", name="reader", block_s=60.0)
        read = ("XREAD", "BLOCK", 60_000, "STREAMS", "{a}:s", "1-1")
        reading = asyncio.create_task(command(reader, *read))
        await eventually(lambda: reader.connection_pool._in_use_connections)
        await redis_cluster.until_settled()
        master.freeze()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(reading, 20.0)
        await reader.aclose()
        assert await asyncio.wait_for(redis.changed(since), 20.0) > since
        others = [key for key in KEYS if redis.node_of(key) != redis.node_of("{a}")][:20]
        await asyncio.wait_for(commands(redis, [("GET", key) for key in others]), 5.0)
        await with_retry(lambda: command(redis, "XADD", "{a}:s", "2-1", "f", "v"), 20.0)
        assert redis.node_of("{a}") != str(master)
        again = redis.blocking("{a}:s", name="reader", block_s=1.0)
        assert await command(again, "XREAD", "STREAMS", "{a}:s", "1-1")
        await again.aclose()
        master.thaw()


async def test_a_killed_primary_costs_its_own_keys_only(redis_cluster: Cluster) -> None:
    master = redis_cluster.primary_of("{a}")
    async with opened(redis_cluster.url) as redis:
        await commands(redis, [("SET", key, "x") for key in ("{a}", *KEYS)])
        await redis_cluster.until_settled()
        theirs_too = [key for key in KEYS if redis.node_of(key) != str(master)]
        master.kill()
        with pytest.raises(ServerUnreachable):
            await command(redis, "GET", "{a}")
        for key in theirs_too[:10]:
            assert await command(redis, "GET", key) == b"x"
        found = await with_retry(lambda: command(redis, "GET", "{a}"), 20.0)
        assert found == b"x"
        assert await commands(redis, [("GET", key) for key in KEYS]) == [b"x"] * len(KEYS)


async def test_a_node_that_hangs_keeps_no_program_from_starting_whose_namespace_is_elsewhere(
    own_cluster: StartCluster,
) -> None:
    cluster = own_cluster(3, 0, cluster_require_full_coverage="no")
    hung = cluster.primary_of_slot(0)
    name = next(name for name in "abcdefgh" if cluster.primary_of(f"{{{name}}}:meta") is not hung)
    async with Log.open(cluster.url, namespace=name):
        hung.freeze()
    try:
        began_s = time.monotonic()
        async with Log.open(cluster.url, namespace=name, role="client"):
            assert time.monotonic() - began_s < 4.0
    finally:
        hung.thaw()


async def test_a_cluster_that_is_away_is_one_error(redis_cluster: Cluster) -> None:
    url = redis_cluster.url
    for node in redis_cluster.nodes:
        node.kill()
    with pytest.raises(ServerUnreachable):
        await open_redis(url)
    assert issubclass(theirs.MovedError, theirs.AskError)  # why MOVED is looked for first
