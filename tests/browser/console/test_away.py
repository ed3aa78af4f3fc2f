"""What the page says of a gateway that is frozen, refuses, or has something before it."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import AsyncIterator

import anyio
import pytest
from playwright.async_api import Browser
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from everfold import Everfold
from everfold.web import add_key, revoke_key
from tests.browser.console.page import Console, opened
from tests.browser.console.test_people import log_in
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually
from tests.web.site import Site, serving

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]

NONE = f"{0:026}"


class Between:
    """What stands before a gateway: it answers what begins so with a page, or not at all."""

    def __init__(self) -> None:
        self.refused = self.unanswered = "nothing"
        self.refusals = 0
        self._open = list[anyio.CancelScope]()

    def cut(self) -> None:
        """Cut the connections whose answers go on."""
        for scope in self._open:
            scope.cancel()

    def __call__(self, app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            path = str(scope.get("path", ""))
            if path.startswith(self.unanswered):
                await anyio.sleep_forever()
            if path.startswith(self.refused):
                self.refusals += 1
                page = HTMLResponse("<html><h1>Bad Gateway</h1></html>", 502)
                await page(scope, receive, send)
                return
            with anyio.CancelScope() as call:
                if scope["type"] == "http":
                    self._open.append(call)
                await app(scope, receive, send)

        return answer


@contextlib.asynccontextmanager
async def behind(
    between: Between, everfold: Everfold, stack: Stack, browser: Browser
) -> AsyncIterator[Console]:
    async with (
        serving(everfold, stack, wrap=between) as site,
        opened(browser, site.url) as console,
    ):
        yield console


async def test_a_gateway_that_is_frozen_is_not_called_live(browser: Browser, stack: Stack) -> None:
    program = stack.start("-m", "everfold", "serve", "--port", "0", environ=stack.names)
    found = re.search(r"http://[0-9.:]+", await program.line("gateway", within_s=30))
    await program.line("ready", within_s=30)
    assert found
    async with opened(browser, found[0].rstrip("/")) as console:
        await console.see()
        program.send(signal.SIGSTOP)
        await console.page.locator(".connection.lost").wait_for(timeout=60_000)
        program.send(signal.SIGCONT)
        await console.page.locator(".connection.live").wait_for(timeout=60_000)


async def test_a_page_behind_which_nothing_happens_stays_live(console: Console) -> None:
    await console.see()
    await console.page.wait_for_timeout(45_000)
    assert await console.page.locator(".connection.live").count() == 1
    assert sum("farm/stream" in path for path in console.asked) == 1


async def test_a_key_that_is_removed_leads_to_the_login(
    site: Site, browser: Browser, everfold: Everfold
) -> None:
    key_id, key = await add_key(everfold.log, "ada", user="ada")
    await add_key(everfold.log, "other", user="ada")
    async with opened(browser, site.url) as console:
        await log_in(console, key.reveal())
        await revoke_key(everfold.log, key_id)
        await console.page.wait_for_url("**/login?next=*", timeout=40_000)


async def test_a_job_that_nobody_knows_leaves_the_page_connected(console: Console) -> None:
    await console.page.goto(f"{console.url}/console/jobs/{NONE}")
    await console.has_text("Not found")
    await console.page.locator(".connection.live").wait_for()


async def test_what_answers_in_place_of_the_gateway_is_told_in_words(
    everfold: Everfold, stack: Stack, browser: Browser
) -> None:
    between = Between()
    between.refused = "/everfold/v1"
    async with behind(between, everfold, stack, browser) as console:
        await console.page.goto(f"{console.url}/console/jobs")
        await console.has_text("That did not work")
        shown = await console.page.locator(".failed").inner_text()
        assert "502" in shown
        assert "JSON" not in shown


async def test_a_gateway_that_says_nothing_leaves_no_empty_page(
    everfold: Everfold, stack: Stack, browser: Browser
) -> None:
    between = Between()
    between.unanswered = "/everfold/v1"
    async with behind(between, everfold, stack, browser) as console:
        await console.page.goto(f"{console.url}/console/jobs")
        await console.has_text("Reading")
        await console.has_text("has not answered", within_s=90)
        between.unanswered = "nothing"
        await console.page.get_by_role("button", name="Try again").click()
        await console.is_read()


async def test_what_happens_behind_a_proxy_that_refuses_meanwhile_is_shown(
    everfold: Everfold, stack: Stack, browser: Browser
) -> None:
    between = Between()
    job_id = (await everfold.submit(sleeper(1))).job_id
    await stack.projector()
    async with behind(between, everfold, stack, browser) as console:
        await console.see("jobs")
        await console.page.locator("tbody .status.queued").wait_for()
        between.refused = "/everfold/v1"
        between.cut()
        await eventually(lambda: between.refusals > 0, 20)
        await everfold.cancel(job_id)
        await stack.until(job_id, "canceled")
        between.refused = "nothing"
        await console.page.locator("tbody .status.canceled").wait_for(timeout=40_000)


@pytest.mark.parametrize("query", ["time=100000000000000000", "time=1&until=-1e300"])
async def test_a_time_that_no_calendar_has_is_refused_in_words(
    console: Console, query: str
) -> None:
    await console.page.goto(f"{console.url}/console/moment?{query}")
    await console.has_text("That did not work")
    await console.press("g", "b")
    await console.has_text("Board")


async def test_rows_of_one_filter_are_not_shown_below_another(
    everfold: Everfold, stack: Stack, browser: Browser
) -> None:
    between = Between()
    await everfold.submit(sleeper(1))
    await everfold.assets.put(b"a text", name="text.txt", owner="ada")
    await stack.projector()
    async with behind(between, everfold, stack, browser) as console:
        await console.see("jobs")
        await console.page.locator("tbody .status.queued").wait_for()
        between.unanswered = "/everfold/v1/jobs"
        await console.page.locator(".chip .status.failed").click()
        await console.page.locator("tbody").wait_for(state="detached", timeout=5_000)

        await console.see("assets")
        await console.has_text("text.txt")
        between.unanswered = "/everfold/v1/assets"
        await console.page.get_by_role("button", name="video").click()
        await console.page.get_by_text("text.txt").wait_for(state="detached", timeout=5_000)
