"""A runner is killed, a gateway is killed: the page shows it, and misses nothing."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Error

from everfold import Everfold
from tests.browser.console.page import Console, opened
from tests.support.programs.programs import Program, StartProgram
from tests.support.programs.stack import Stack, sleeper
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]

GATEWAY_AWAY = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_CONNECTION_RESET")
LANES = ".gantt .lane .name"


async def test_a_killed_runner_loses_the_lane_to_another_one(
    console: Console, everfold: Everfold, stack: Stack
) -> None:
    comfy = await stack.comfy()
    runners = [await stack.runner(comfy, assets=everfold.assets.url) for _ in range(2)]
    await stack.projector()
    job_id = (await everfold.submit(sleeper(30))).job_id
    await stack.until_progress(job_id, 0.01)
    await console.see(f"jobs/{job_id}")
    first = (await stack.job(job_id)).owner
    await console.page.locator(LANES, has_text=first).wait_for()

    owner, _ = await stack.owner_among(job_id, *runners)
    owner.kill()

    await stack.until_event(job_id, "recovered")
    second = (await stack.job(job_id)).owner
    assert second not in ("", first)
    await console.page.locator(LANES, has_text=second).wait_for(timeout=20_000)
    await console.page.locator(".span.recovered").first.wait_for()
    assert len(await comfy.executions()) == 1
    await console.is_clean()


@contextlib.asynccontextmanager
async def listening(stack: Stack, port: int) -> AsyncIterator[Program]:
    """Serve the namespace in a process of its own."""
    arguments = ("-m", "everfold", "serve", "--port", str(port))
    program = stack.start(*arguments, environ=stack.names)
    await program.line("ready", within_s=30)
    yield program


async def test_after_a_cut_the_page_has_all_that_happened_meanwhile(
    browser: Browser, everfold: Everfold, stack: Stack
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    await stack.runner(await stack.comfy(), assets=everfold.assets.url)
    await stack.projector()
    job_id = (await everfold.submit(sleeper(3))).job_id
    async with opened(browser, f"http://127.0.0.1:{port}") as console:
        async with listening(stack, port) as gateway:
            await console.see(f"jobs/{job_id}")
            gateway.kill()
        await console.page.locator(".connection.lost").wait_for()
        await console.has_text("disconnected")
        await stack.until(job_id, "succeeded")

        async with listening(stack, port):
            await console.page.locator(".connection.live").wait_for(timeout=30_000)
            await console.page.locator("h1 .status.succeeded").wait_for(timeout=20_000)
            wanted = len(await stack.event_types(job_id))
            events = console.page.locator(".events > li")

            async def all_are_there() -> bool:
                return bool(await events.count() == wanted)

            await eventually(all_are_there, 20)
        unexpected = [
            one for one in console.complaints if not any(word in one for word in GATEWAY_AWAY)
        ]
        assert unexpected == []


async def test_a_ledger_that_is_away_is_told_until_it_is_back(
    browser: Browser, start_program: StartProgram, own_server: StartServer
) -> None:
    server = own_server(tcp=True, save="", appendonly="yes")
    environ = {"REDIS_URL": server.url}
    async with Everfold.connect(server.url) as everfold:
        await everfold.submit(sleeper(1), user="ada")
    program = start_program("-m", "everfold", "serve", "--port", "0", environ=environ)
    line = await program.line("gateway", within_s=30)
    await program.line("ready", within_s=30)
    found = re.search(r"http://[0-9.:]+", line)
    assert found
    async with opened(browser, found[0].rstrip("/")) as console:
        await console.see()
        server.kill()
        told = "The gateway cannot read the farm since"
        await console.has_text(told, within_s=40)
        await console.page.get_by_role("link", name="Consumers").click()
        await console.page.get_by_role("button", name="Try again").wait_for(timeout=40_000)

        server.start()
        await console.page.get_by_text(told).wait_for(state="detached", timeout=40_000)

        async def is_read_again() -> bool:
            again = console.page.get_by_role("button", name="Try again")
            with contextlib.suppress(Error):  # it is gone once the page is read
                await again.click(timeout=1000)
            return bool(await console.page.get_by_text("Nobody reads the stream").count())

        await eventually(is_read_again, 40)


async def test_a_job_is_cancelled_from_its_page(
    console: Console, everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy(), assets=everfold.assets.url)
    await stack.projector()
    job_id = (await everfold.submit(sleeper(600))).job_id
    await stack.until_progress(job_id, 0.001)
    await console.see(f"jobs/{job_id}")

    await console.page.get_by_role("button", name="Cancel …").click()
    await console.page.get_by_label("Why").fill("wrong colours")
    await console.page.get_by_role("button", name="Cancel job").click()

    await console.page.locator("h1 .status.canceled").wait_for(timeout=20_000)
    await console.has_text("wrong colours")
    await console.is_clean()
