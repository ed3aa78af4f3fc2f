"""A server that returns after an absence gets work within a second, and what it had is kept."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from aiohttp import web

from everfold.runner.config import RunnerConfig
from tests.support.programs.stack import Comfy, Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

AWAY_S = 4.0
"""By then a back-off that doubles would have come to pauses of several seconds."""


LONG_AWAY_S = 7.0
"""By then the websocket's pauses between two tries are so long that it tells nothing in time."""


async def first_execution_s(comfy: Comfy) -> float:
    """Bring the server up; return how long after that it begins an execution."""
    await comfy.up()
    listening_s = time.monotonic()

    async def begun() -> bool:
        return len(await comfy.executions()) > 0

    await eventually(begun, 20)
    return time.monotonic() - listening_s


async def test_a_server_that_is_back_gets_a_waiting_job_within_a_second(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    waits_s = list[float]()
    for _ in range(3):
        comfy.kill()
        job_id = await stack.submit(seconds=0.1)
        await anyio.sleep(AWAY_S)
        comfy.ledger.unlink(missing_ok=True)
        waits_s.append(await first_execution_s(comfy))
        await stack.until(job_id, "succeeded")
    # The slowest of them says how busy the machine of the test is, too; on a calm one each is below
    # a second.
    assert min(waits_s) < 2.5, waits_s


async def test_a_job_that_a_server_has_lost_is_looked_at_when_the_server_is_back(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, truth_every_s=60.0)
    job_id = await stack.submit(seconds=1.0)
    await stack.until(job_id, "running")
    comfy.kill()
    await anyio.sleep(LONG_AWAY_S)
    comfy.ledger.unlink(missing_ok=True)
    assert await first_execution_s(comfy) < 5.0
    await stack.until_event(job_id, "lost")


class StandsStill:
    """Before a ComfyUI: stands still from its first POST on, until `thaw`; what it is asked first
    then overtakes the body of the POST."""

    def __init__(self, comfy: Comfy) -> None:
        self._comfy = comfy
        self._is_still = False
        self.came, self._was_asked = anyio.Event(), anyio.Event()

    def thaw(self) -> None:
        self._is_still = False

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.path == "/prompt" and not self.came.is_set():
            self._is_still = True
            self.came.set()
            await self._was_asked.wait()
            await anyio.sleep(0.3)
        elif self._is_still:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        async with httpx.AsyncClient(base_url=self._comfy.url) as client:
            kept = {"Content-Type": request.headers.get("Content-Type", "")}
            path = str(request.rel_url)
            found = await client.request(request.method, path, content=body, headers=kept)
        if self.came.is_set() and request.path.startswith("/history/"):
            self._was_asked.set()
        return web.Response(status=found.status_code, body=found.content)


@asynccontextmanager
async def standing_still(comfy: Comfy) -> AsyncIterator[tuple[StandsStill, str]]:
    """Yield it and its address."""
    before, app = StandsStill(comfy), web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", before.answer)
    server = web.AppRunner(app, shutdown_timeout=0.0)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    try:
        host, port = server.addresses[0]
        yield before, f"http://{host}:{port}"
    finally:
        await server.cleanup()


async def test_a_post_that_a_server_reads_only_when_it_thaws_runs_once(stack: Stack) -> None:
    comfy = await stack.comfy()
    async with standing_still(comfy) as (before, url):
        await stack.runner(backends=[url])
        job_id = await stack.submit(seconds=0.5)
        await before.came.wait()
        await anyio.sleep(
            RunnerConfig(name="any").submit_grace_s + 2.0
        )  # the POST was given up before this
        before.thaw()
        job = await stack.until(job_id, "succeeded")
    assert job.attempt == 1
    assert await comfy.executions() == [job.prompt_id]
