"""Each way in which a server refuses, as the error that says what the caller may do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync
from redis.asyncio import Redis

from everfold.streams.appending.log import Log
from everfold.streams.connections.replies import NoGroup
from everfold.streams.errors import (
    EverfoldError,
    ServerError,
    ServerLoading,
    ServerOutOfMemory,
    ServerReadOnly,
    ServerRefusesAccess,
    ServerUnreachable,
    WrongKeyType,
)
from everfold.streams.events.event import CancelRequested
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import (
    command,
    mapped_errors,
    read_hash,
    read_string,
)
from everfold.streams.redis.server import connect
from tests.support.servers import OwnServer, StartServer, client
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
def server(own_server: StartServer) -> OwnServer:
    return own_server(tcp=True)


@pytest.fixture
async def redis(server: OwnServer) -> AsyncIterator[Redis]:
    redis = connect(server.url)
    yield redis
    await redis.aclose()


async def submitted(log: Log) -> str:
    return (await log.submit(GRAPH)).job_id


async def recovers(
    server: OwnServer,
    kind: type[EverfoldError],
    spoil: Callable[[], Awaitable[object]],
    mend: Callable[[], Awaitable[object]],
) -> None:
    """Check that submit and append fail as `kind` while spoilt, and go on when it is mended."""
    async with Log.open(server.url, namespace="x", partitions=1) as log:
        log.retry_for_s = 0.2
        job_id = await submitted(log)
        await spoil()
        with pytest.raises(kind):
            await log.append(job_id, CancelRequested(), epoch=0)
        with pytest.raises(kind):
            await submitted(log)
        await mend()
        await log.append(job_id, CancelRequested(), epoch=0)
        assert [record.seq for record in await job_events(log, job_id)] == [1, 2]


async def test_a_full_server_is_out_of_memory_until_it_has_room(
    server: OwnServer, redis: Redis
) -> None:
    await recovers(
        server,
        ServerOutOfMemory,
        lambda: command(redis, "CONFIG SET", "maxmemory", "1"),
        lambda: command(redis, "CONFIG SET", "maxmemory", "0"),
    )


async def test_a_replica_is_read_only_until_it_is_promoted(server: OwnServer, redis: Redis) -> None:
    # Of a primary that is not there: its own data stay.
    await recovers(
        server,
        ServerReadOnly,
        lambda: command(redis, "REPLICAOF", "127.0.0.1", 1),
        lambda: command(redis, "REPLICAOF", "NO", "ONE"),
    )


async def test_a_replica_without_its_primary_may_serve_nothing(
    server: OwnServer, redis: Redis
) -> None:
    await command(redis, "CONFIG SET", "replica-serve-stale-data", "no")
    await command(redis, "REPLICAOF", "127.0.0.1", 1)
    with pytest.raises(ServerReadOnly, match="Link with MASTER is down"):
        await command(redis, "GET", "x")


async def test_too_few_replicas_refuse_writes(server: OwnServer, redis: Redis) -> None:
    await recovers(
        server,
        ServerReadOnly,
        lambda: command(redis, "CONFIG SET", "min-replicas-to-write", "1"),
        lambda: command(redis, "CONFIG SET", "min-replicas-to-write", "0"),
    )


async def test_a_server_that_cannot_save_refuses_writes(server: OwnServer, redis: Redis) -> None:
    obstacle = server.folder / "dump.rdb"

    async def spoil() -> None:
        obstacle.mkdir()
        (obstacle / "full").touch()
        await command(redis, "CONFIG SET", "save", "3600 1000000")
        await command(redis, "BGSAVE")

        async def has_failed() -> bool:
            text = _bytes(await command(redis, "INFO", "persistence"))
            return b"rdb_last_bgsave_status:err" in text

        await eventually(has_failed)

    async def mend() -> None:
        await command(redis, "CONFIG SET", "stop-writes-on-bgsave-error", "no")

    await recovers(server, ServerReadOnly, spoil, mend)


def _bytes(reply: object) -> bytes:
    assert isinstance(reply, bytes)
    return reply


async def test_a_server_in_a_long_script_is_busy_until_it_ends(
    server: OwnServer, redis: Redis
) -> None:
    await command(redis, "CONFIG SET", "busy-reply-threshold", "10")
    async with Log.open(server.url, namespace="x", partitions=1) as log:
        job_id = await submitted(log)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_for_ever, server)
            await eventually(lambda: refused(redis, ServerLoading))
            tasks.start_soon(ask, log, job_id)
            await command(redis, "SCRIPT KILL")
        assert len(await job_events(log, job_id)) == 2


async def run_for_ever(server: OwnServer) -> None:
    redis = connect(server.url)
    with pytest.raises(ServerError, match="killed"):
        await command(redis, "EVAL", "while true do end", 0)
    await redis.aclose()


async def ask(log: Log, job_id: str) -> None:
    await log.append(job_id, CancelRequested(), epoch=0)


async def refused(redis: Redis, kind: type[EverfoldError]) -> bool:
    """Say whether reading is refused as `kind` now."""
    try:
        await command(redis, "GET", "x")
    except kind:
        return True
    except ServerUnreachable:
        return False
    return False


async def test_a_server_that_still_loads_its_data_is_waited_for(own_server: StartServer) -> None:
    slow = {"key_load_delay": "2000", "loading_process_events_interval_bytes": "1024"}
    server = own_server(tcp=True, appendonly="no", save="3600 1", **slow)
    async with Log.open(server.url, namespace="x", partitions=1) as log:
        job_id = await submitted(log)
        with client(server.url) as plain:
            for number in range(400):
                plain.set(f"ballast-{number}", "x" * 200)
        await run_sync(server.stop)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_sync, server.start)
            await eventually(lambda: refused(log.redis, ServerLoading))
            tasks.start_soon(ask, log, job_id)
        assert len(await job_events(log, job_id)) == 2


async def test_a_server_that_went_away_is_unreachable(server: OwnServer, redis: Redis) -> None:
    await command(redis, "PING")
    await run_sync(server.kill)
    for _ in range(2):
        with pytest.raises(ServerUnreachable):
            await command(redis, "PING")
    await run_sync(server.start)
    assert await command(redis, "PING") == b"PONG"


async def test_a_server_that_is_silent_is_unreachable_after_the_time_out(server: OwnServer) -> None:
    redis = connect(server.url, timeout_s=0.2)
    await command(redis, "PING")
    server.pause()
    with pytest.raises(ServerUnreachable), anyio.fail_after(3):
        await command(redis, "PING")
    server.resume()
    assert await command(redis, "PING") == b"PONG"
    await redis.aclose()


async def test_a_socket_that_does_not_exist_is_unreachable(tmp_path: Path) -> None:
    redis = connect(f"unix://{tmp_path}/none")
    with pytest.raises(ServerUnreachable):
        await command(redis, "PING")
    await redis.aclose()


async def test_a_password_that_is_wrong_or_missing_is_no_outage(server: OwnServer) -> None:
    host = server.url.removeprefix("redis://")
    with client(server.url) as plain:
        plain.config_set("requirepass", "secret")
    for url in (server.url, f"redis://:wrong@{host}", f"redis://nobody:secret@{host}"):
        with pytest.raises(ServerRefusesAccess):
            async with Log.open(url, namespace="x"):
                pass
    async with Log.open(f"redis://:secret@{host}", namespace="x") as log:
        await submitted(log)


async def test_a_user_without_the_right_to_write_is_refused_access(server: OwnServer) -> None:
    host = server.url.removeprefix("redis://")
    async with Log.open(server.url, namespace="x") as log:
        await submitted(log)
    with client(server.url) as plain:
        rights = ("on", ">r", "~*", "&*", "+@read", "+info", "+command", "+client")
        plain.execute_command("ACL", "SETUSER", "reader", *rights)
    async with Log.open(f"redis://reader:r@{host}", namespace="x") as log:
        with pytest.raises(ServerRefusesAccess, match="permission"):
            await submitted(log)


async def test_a_missing_group_has_a_name_of_its_own(redis: Redis) -> None:
    await command(redis, "XADD", "s", "*", "a", "b")
    with pytest.raises(NoGroup):
        await command(redis, "XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")


async def test_a_key_of_another_type_has_a_name_and_what_is_not_the_server_s_passes_through(
    redis: Redis,
) -> None:
    await command(redis, "SET", "x", "y")
    with pytest.raises(WrongKeyType, match=r"WRONGTYPE .*, asked for x$"):
        await read_hash(redis, "x")
    with pytest.raises(WrongKeyType, match=r", asked for a x b 0 0 0$"):
        await command(redis, "XREAD", "STREAMS", "a", "x", "b", 0, 0, 0)
    with pytest.raises(WrongKeyType, match=r", asked for x y$"):
        await command(redis, "EVAL", "return redis.call('HGETALL', KEYS[1])", 2, "x", "y", "z")
    with pytest.raises(ZeroDivisionError), mapped_errors():
        raise ZeroDivisionError
    assert (await read_string(redis, "x"), await read_string(redis, "none")) == (b"y", None)


async def test_a_cluster_without_its_slots_is_unreachable(own_server: StartServer) -> None:
    redis = connect(own_server(cluster_enabled="yes").url)
    with pytest.raises(ServerUnreachable, match="Hash slot not served"):
        await command(redis, "GET", "x")
    await redis.aclose()
