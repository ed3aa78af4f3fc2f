"""A primary that becomes a replica behind its address: whoever is connected to it goes on at the
next one, though nobody cuts their connections."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import cast

import anyio
import pytest

from everfold import Everfold
from everfold.streams.appending.log import Log
from everfold.streams.reading.reader import job_events, tail
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import connect
from tests.support.programs.programs import StartProgram
from tests.support.programs.runner_program import Leases
from tests.support.programs.stack import Stack
from tests.support.servers import OwnServer, StartServer
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


async def told(server: OwnServer, *words: str) -> bytes:
    redis = connect(server.url)
    try:
        return cast("bytes", await command(redis, *words))
    finally:
        await redis.aclose()


async def is_in_sync(server: OwnServer) -> bool:
    said = await told(server, "INFO", "replication")
    return b"role:slave" in said and b"master_link_status:up" in said


async def swap(old: OwnServer, new: OwnServer, proxy: FaultProxy) -> None:
    """Make `new` the primary of `old`, and lead new connections to it."""
    await told(new, "REPLICAOF", "NO", "ONE")
    proxy.target = new.url
    await told(old, "REPLICAOF", *_place(new))


def _place(server: OwnServer) -> tuple[str, str]:
    host, _, port = server.url.partition("://")[2].partition("/")[0].rpartition(":")
    return host, port


async def test_jobs_go_on_within_seconds_and_no_process_ends(
    own_server: StartServer,
    namespace: str,
    start_program: StartProgram,
    tmp_path: Path,
    leases: Leases,
) -> None:
    first, second = own_server(tcp=True), own_server(tcp=True)
    await told(second, "REPLICAOF", *_place(first))
    await eventually(lambda: is_in_sync(second), 20.0)
    async with (
        FaultProxy(first.url) as proxy,
        Log.open(proxy.url, namespace=namespace) as log,
    ):
        stack = Stack(log, start_program, tmp_path, redis_url=proxy.url, leases=leases)
        comfy = await stack.comfy()
        programs = [await stack.runner(comfy), await stack.projector()]
        early = [await stack.submit(0.2) for _ in range(3)]
        seen = list[str]()

        async def watch() -> None:
            async with tail(log) as pages:
                async for page in pages:
                    seen.extend(record.entry_id for record in page)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await swap(first, second, proxy)
            began_s = time.monotonic()
            late = await stack.submit(0.2)
            took_s = time.monotonic() - began_s
            for job_id in (*early, late):
                await stack.until(job_id, "succeeded", 30.0)
            ids = {record.entry_id for record in await job_events(log, late)}
            await eventually(lambda: ids <= set(seen), 20.0)
            tasks.cancel_scope.cancel()
        assert took_s < 5.0
        for program in programs:
            assert program.exit_code is None

        async def nobody_is_left() -> bool:
            lines = (await told(first, "CLIENT", "LIST")).splitlines()
            return not [line for line in lines if b"name=everfold:" in line]

        await eventually(nobody_is_left, 30.0)


async def test_a_client_that_only_reads_goes_on_at_the_next_primary(
    own_server: StartServer, namespace: str
) -> None:
    first, second = own_server(tcp=True), own_server(tcp=True)
    await told(second, "REPLICAOF", *_place(first))
    await eventually(lambda: is_in_sync(second), 20.0)
    async with FaultProxy(first.url) as proxy, Log.open(first.url, namespace=namespace) as log:
        await log.make()
        job_id = (await log.submit(GRAPH)).job_id
        async with Everfold.connect(
            proxy.url, namespace=namespace, config=os.devnull, actor="only-reads"
        ) as everfold:
            assert (await everfold.get(job_id)).status == "queued"
            await swap(first, second, proxy)
            async with Log.open(second.url, namespace=namespace) as after:
                late = (await after.submit(GRAPH)).job_id

            async def nobody_is_left() -> bool:
                return b"name=everfold:only-reads" not in await told(first, "CLIENT", "LIST")

            assert not await nobody_is_left()
            # While it follows the next primary, a demoted one answers reads as before.
            await eventually(nobody_is_left, 20.0)
            assert (await everfold.get(late)).status == "queued"
