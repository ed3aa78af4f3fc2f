"""A reader whose server has become a replica behind a plain address finds the next primary."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.live import live_tail
from everfold.streams.live.live_tail import tail_with_live
from everfold.streams.reading import reader
from everfold.streams.reading.reader import job_events, tail
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import connect
from tests.support.servers import OwnServer, StartServer
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


async def told(server: OwnServer, *words: str) -> bytes:
    redis = connect(server.url, name="test")
    try:
        return cast("bytes", await command(redis, *words))
    finally:
        await redis.aclose()


async def follow(server: OwnServer, primary: OwnServer) -> None:
    host, _, port = primary.url.partition("://")[2].partition("/")[0].rpartition(":")
    await told(server, "REPLICAOF", host, port)

    async def is_in_sync() -> bool:
        return b"master_link_status:up" in await told(server, "INFO", "replication")

    await eventually(is_in_sync, 20.0)


@asynccontextmanager
async def jobs_of_tail(log: Log) -> AsyncIterator[AsyncIterator[list[str]]]:
    async with tail(log) as pages:
        yield ([record.job_id for record in page] async for page in pages)


@asynccontextmanager
async def jobs_of_live_tail(log: Log) -> AsyncIterator[AsyncIterator[list[str]]]:
    async with tail_with_live(log) as batches:
        yield ([record.job_id for record in batch.records] async for batch in batches)


@pytest.mark.parametrize("following", [jobs_of_tail, jobs_of_live_tail])
async def test_a_reader_at_a_demoted_server_goes_on_at_the_next_primary(
    own_server: StartServer, monkeypatch: pytest.MonkeyPatch, following: type
) -> None:
    monkeypatch.setattr(reader, "BLOCK_S", 0.3)
    monkeypatch.setattr(live_tail, "BLOCK_S", 0.3)
    old, new = (own_server(tcp=True, repl_diskless_sync_delay="0") for _ in range(2))
    async with Log.open(old.url, namespace="x", partitions=2) as writer:
        await writer.submit(GRAPH)
    await follow(new, old)
    seen = list[str]()
    async with (
        FaultProxy(old.url) as proxy,
        Log.open(proxy.url, namespace="x") as log,
        following(log) as pages,
        anyio.create_task_group() as tasks,
    ):

        async def read() -> None:
            async for page in pages:
                seen.extend(page)

        tasks.start_soon(read)
        await told(new, "REPLICAOF", "NO", "ONE")
        await follow(old, new)  # whoever connects anew now is at the old one still
        async with Log.open(new.url, namespace="x") as writer:
            first = (await writer.submit(GRAPH)).job_id
            await eventually(lambda: first in seen, 20.0)
            proxy.target = new.url

            async def nobody_is_left() -> bool:
                return b"name=everfold" not in await told(old, "CLIENT", "LIST")

            await eventually(nobody_is_left, 10.0)
            late = (await writer.submit(GRAPH)).job_id
            await eventually(lambda: late in seen, 10.0)
            assert len(await job_events(log, late)) == 1
        tasks.cancel_scope.cancel()
