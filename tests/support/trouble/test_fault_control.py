from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import ByteStream
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support.programs.programs import StartProgram
from tests.support.servers import client
from tests.support.trouble.fault_control import Command, execute
from tests.support.trouble.fault_proxy import FaultProxy

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _control(address: str) -> AsyncIterator[ByteStream]:
    host, _, port = address.partition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        yield stream


async def _told(control: ByteStream, **order: object) -> dict[str, object]:
    await control.send(json.dumps(order).encode() + b"\n")
    return dict(json.loads(await control.receive()))


async def test_a_proxy_of_its_own_process_executes_commands_from_its_control_port(
    start_program: StartProgram, redis_url: str, namespace: str
) -> None:
    program = start_program("-m", "tests.support.trouble.fault_proxy", "--to", redis_url)
    ready = json.loads(await program.line("url"))

    async with _control(ready["control"]) as control:
        assert (await _told(control, do="swallow_replies", containing="INCR"))["ok"]
        with client(ready["url"]) as redis, pytest.raises(RedisConnectionError):
            redis.incr(f"{{{namespace}:0}}:key")
        counted = await _told(control, do="count")
        assert (counted["hits"], counted["accepted"]) == (1, 1)
        wrong = await _told(control, do="explode")
        assert (wrong["ok"], wrong["error"]) == (False, "unknown command 'explode'")
        await control.send(b"no json\n")
        assert not json.loads(await control.receive())["ok"]
    with client(redis_url) as redis:
        assert redis.get(f"{{{namespace}:0}}:key") == b"1"


@pytest.mark.parametrize(
    "given",
    [
        Command(do="cut"),
        Command(do="refuse"),
        Command(do="accept"),
        Command(do="drop_requests"),
        Command(do="black_hole"),
        Command(do="latency", latency_s=2),
        Command(do="throttle", bytes_per_s=10),
        Command(do="heal"),
    ],
    ids=lambda given: given.do,
)
async def test_every_command_is_understood_and_healed(given: Command, redis_url: str) -> None:
    async with FaultProxy(redis_url) as proxy:
        await execute(proxy, given)
        await execute(proxy, Command(do="heal"))

        with client(proxy.url) as redis:
            assert await anyio.to_thread.run_sync(redis.ping)
