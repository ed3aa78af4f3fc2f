"""Opening a namespace, and servers that cannot be used."""

from __future__ import annotations

from pathlib import Path

import anyio
import msgspec
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.errors import (
    InvalidName,
    NamespaceMadeAnew,
    NamespaceTooNew,
    PartitionMismatch,
    ServerReadOnly,
    ServerRefusesAccess,
    ServerTooOld,
    ServerUnreachable,
    ServerUrlInvalid,
    Unavailable,
    WrongKeyType,
)
from everfold.streams.nodes.tags import plain_tags, spread_tags
from everfold.streams.redis.redis_errors import command, read_hash
from tests.support.server_choice import ServerChoice
from tests.support.servers import StartServer, own_server

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


async def opened(url: str, namespace: str, partitions: int | None = None) -> int:
    async with Log.open(url, namespace=namespace, partitions=partitions) as log:
        return log.keys.partitions


async def test_a_namespace_keeps_the_partitions_it_was_made_with(
    redis_url: str, namespace: str
) -> None:
    assert await opened(redis_url, namespace, 5) == 5
    assert await opened(redis_url, namespace) == 5
    with pytest.raises(PartitionMismatch, match="made with 5 partitions, not 8"):
        await opened(redis_url, namespace, 8)


async def test_of_two_programs_that_make_it_at_once_one_decides(
    redis_url: str, namespace: str
) -> None:
    found: list[int] = []

    async def make(partitions: int) -> None:
        try:
            found.append(await opened(redis_url, namespace, partitions))
        except PartitionMismatch as error:
            found.append(error.actual)

    async with anyio.create_task_group() as tasks:
        for partitions in (2, 3, 4, 5):
            tasks.start_soon(make, partitions)
    assert len(set(found)) == 1


async def test_a_new_namespace_has_24_partitions_and_says_their_tags(
    redis_url: str, namespace: str
) -> None:
    async with Log.open(redis_url, namespace=namespace) as log:
        assert log.keys.partitions == 24
        root = f"{{{namespace}}}" if log.keys.is_spread else namespace
        assert log.keys.meta() == f"{root}:meta"
        stored = await read_hash(log.redis, log.keys.meta())
        tags = msgspec.json.decode(stored[b"tags"], type=list[str])
        assert [f"{{{tag}}}" for tag in tags] == [log.keys.tag(p) for p in range(24)]


@pytest.mark.shared_layout
async def test_a_namespace_without_tags_is_opened_as_it_was(redis_url: str, namespace: str) -> None:
    await _hset(redis_url, f"{namespace}:meta", "partitions", "8", "schema", "2", "generation", "g")
    async with Log.open(redis_url, namespace=namespace) as log:
        assert (log.keys.partitions, log.keys.tag(7)) == (8, f"{{{namespace}:7}}")
        assert (await log.submit(GRAPH)).created


async def test_a_spread_namespace_is_read_as_it_was_made(redis_url: str, namespace: str) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=5, spread=True) as log:
        assert log.keys.meta() == f"{{{namespace}}}:meta"
        assert log.keys.is_spread
        async with Log.open(redis_url, namespace=namespace) as again:
            assert again.keys == log.keys
            assert again.generation == log.generation
        await command(log.redis, "DEL", log.keys.meta())
        await log.check_level()
        async with Log.open(redis_url, namespace=namespace, spread=True) as later:
            assert later.keys == log.keys


async def test_tags_that_another_program_chose_are_used(redis_url: str, namespace: str) -> None:
    tags = [f"{namespace}:0.77", f"{namespace}:1.78"]
    stored = ("partitions", "2", "schema", "2", "tags", msgspec.json.encode(tags))
    await _hset(redis_url, f"{{{namespace}}}:meta", *stored)
    async with Log.open(redis_url, namespace=namespace) as log:
        assert log.keys.tags == tuple(tags)


async def _hset(url: str, key: str, *fields: str | bytes) -> None:
    async with Log.open(url, namespace="any") as log:
        await command(log.redis, "HSET", key, *fields)


async def test_a_newer_schema_is_refused(redis_url: str, namespace: str) -> None:
    async with Log.open(redis_url, namespace=namespace) as log:
        await command(log.redis, "HSET", log.keys.meta(), "schema", 99)
        assert (await read_hash(log.redis, log.keys.meta()))[b"schema"] == b"99"
    with pytest.raises(NamespaceTooNew, match="has schema 99"):
        await opened(redis_url, namespace)


@pytest.mark.parametrize(("name", "partitions"), [("a b", None), ("ok", 0), ("ok", 5000)])
async def test_bad_names_and_numbers_are_refused(
    redis_url: str, name: str, partitions: int | None
) -> None:
    with pytest.raises(InvalidName):
        await opened(redis_url, name, partitions)


async def test_a_server_below_the_floor_is_named(
    server_choice: ServerChoice, tmp_path: Path
) -> None:
    conf = tmp_path / "old.conf"
    conf.write_text('rename-command EXPIRETIME ""\n')
    assert server_choice.engine is not None
    with (
        own_server(server_choice.engine, conf=conf) as server,
        pytest.raises(ServerTooOld, match=r"too old .* no EXPIRETIME"),
    ):
        await opened(server.url, "old")


async def test_a_url_that_makes_no_sense_is_named() -> None:
    with pytest.raises(ServerUrlInvalid, match="is not a Redis URL"):
        await opened("http://example", "x")


async def test_a_missing_server_is_unreachable() -> None:
    with pytest.raises(ServerUnreachable):
        await opened("redis://127.0.0.1:1/0", "x")


async def test_a_password_that_is_missing_is_refused_access(own_server: StartServer) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="x") as log:
        await command(log.redis, "CONFIG SET", "requirepass", "secret")
        with pytest.raises(ServerRefusesAccess):
            await opened(server.url, "x")


async def test_a_server_that_refuses_writes_is_unavailable(own_server: StartServer) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="x") as log:
        log.retry_for_s = 0.1
        await command(log.redis, "CONFIG SET", "min-replicas-to-write", "1")
        with pytest.raises(ServerReadOnly):
            await log.submit({"1": {"class_type": "A", "inputs": {}}})
        await command(log.redis, "CONFIG SET", "min-replicas-to-write", "0")
        await command(log.redis, "CONFIG SET", "maxmemory", "1")
        with pytest.raises(Unavailable, match="memory"):
            await log.submit({"1": {"class_type": "A", "inputs": {}}})


async def test_a_namespace_that_was_lost_is_made_again_as_it_was(
    redis_url: str, namespace: str
) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=3) as log:
        await command(log.redis, "DEL", log.keys.meta())
        await log.check_level()
        async with Log.open(redis_url, namespace=namespace) as later:
            assert (later.keys.partitions, later.generation) == (3, log.generation)


async def test_a_namespace_that_was_made_anew_is_noticed(redis_url: str, namespace: str) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=3) as log:
        before = await read_hash(log.redis, log.keys.meta())
        tags = spread_tags(namespace, 4) if log.keys.is_spread else plain_tags(namespace, 4)
        changes: list[dict[str, str | bytes]] = [
            {"partitions": "4", "tags": msgspec.json.encode(tags)},
            {"generation": "x"},
            {"generation": b"\xff"},
        ]
        for change in changes:
            for field, value in change.items():
                await command(log.redis, "HSET", log.keys.meta(), field, value)
            with pytest.raises(NamespaceMadeAnew):
                await log.check_level()
            for field in change:
                await command(log.redis, "HSET", log.keys.meta(), field, before[field.encode()])
        await log.check_level()


async def test_what_a_namespace_says_of_itself_may_be_garbage(
    redis_url: str, namespace: str
) -> None:
    async with Log.open(redis_url, namespace=namespace) as log:
        for field in ("partitions", "schema", "tags"):
            before = await command(log.redis, "HGET", log.keys.meta(), field)
            for text in ("", "0", "-1", "x", "²", b"\xff\n", "9" * 400, "1.5", "x" * 1_000_000):
                await command(log.redis, "HSET", log.keys.meta(), field, text)
                with pytest.raises(WrongKeyType, match=f"'{field}' of .*:meta") as caught:
                    await log.check_level()
                assert len(str(caught.value)) < 400
                with pytest.raises(WrongKeyType):
                    async with Log.open(redis_url, namespace=namespace):
                        pass
            assert isinstance(before, bytes)
            await command(log.redis, "HSET", log.keys.meta(), field, before)
        await log.check_level()
