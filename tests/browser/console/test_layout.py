"""What is live does not make the page jump."""

from __future__ import annotations

from typing import cast

import pytest
from playwright.async_api import Browser

from everfold import Everfold
from examples.workflow import small_picture
from tests.browser.console.page import NARROW, USUAL, Console, opened
from tests.support.programs.stack import Stack, sleeper
from tests.web.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]

OBSERVE = """() => {
    window.shifts = []
    new PerformanceObserver((list) => list.getEntries().forEach((one) => window.shifts.push(
        [one.value, one.sources.map(({node}) => node?.outerHTML?.slice(0, 100) ?? '')])))
        .observe({type: 'layout-shift'})
}"""

GOOD = 0.1
"""What is called good of a page's sum of layout shifts."""


@pytest.mark.parametrize("screen", ["", "jobs", "backends"])
async def test_a_live_page_does_not_jump(
    console: Console, everfold: Everfold, stack: Stack, screen: str
) -> None:
    await stack.runner(await stack.comfy(), assets=everfold.assets.url)
    await stack.projector()
    for _ in range(3):
        await everfold.submit(sleeper(1.5), user="ada")
    await console.see(screen)
    await console.requests_end()
    await console.page.evaluate(OBSERVE)

    last = (await everfold.submit(sleeper(0.5))).job_id
    await stack.until(last, "succeeded")
    await console.page.wait_for_timeout(1500)

    shifts = cast("list[tuple[float, list[str]]]", await console.page.evaluate("window.shifts"))
    assert sum(value for value, _ in shifts) < GOOD, shifts


WIDTHS = "all => all.map((one) => one.getBoundingClientRect().width)"
READABLE = 100
"""Pixels; what is narrower has a few letters in a line."""


async def test_long_names_and_states_keep_to_their_place(
    site: Site, browser: Browser, everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy(), assets=everfold.assets.url)
    await stack.projector()
    made = await everfold.submit(small_picture(), user="U" * 180, kind="K" * 60)
    await stack.until(made.job_id, "succeeded")
    for size in (NARROW, USUAL):
        async with opened(browser, site.url, size=size) as console:
            for path in ("", "jobs", "assets", f"jobs/{made.job_id}"):
                await console.see(path)
                assert await console.too_wide() <= 0, path
            changed = console.page.locator(".changes td[data-name=after]", has_text="asset")
            await changed.wait_for()
            assert min(await changed.evaluate_all(WIDTHS)) > READABLE
