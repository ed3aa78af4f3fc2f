"""What is live does not make the page jump."""

from __future__ import annotations

from typing import cast

import pytest

from everfold import Everfold
from tests.browser.console.page import Console
from tests.support.programs.stack import Stack, sleeper

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
