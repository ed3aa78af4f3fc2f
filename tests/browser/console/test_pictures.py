"""Each screen at each width and in both schemes: nothing lies beside the window.

EVERFOLD_SCREENSHOTS names a folder that keeps a picture of each.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.browser.console.lived_in import Farm
from tests.browser.console.page import LARGE, NARROW, SCREENS, USUAL, Console, opened
from tests.web.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]

SIZES = {"narrow": NARROW, "usual": USUAL, "large": LARGE}


async def photograph(console: Console, name: str) -> None:
    if folder := os.environ.get("EVERFOLD_SCREENSHOTS"):
        await console.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
async def test_each_screen_fits_its_window(
    site: Site, farm: Farm, browser: Browser, size: str, scheme: str
) -> None:
    paths = {**SCREENS, "made": f"jobs/{farm.made}", "failed": f"jobs/{farm.failed}"}
    paths |= {"running": f"jobs/{farm.runs}", "waiting": f"jobs/{farm.waits}"}
    paths["held"] = "consumers?name=mail"
    paths["then"] = f"moment?time={(await site.stack.job(farm.runs)).started_at_ms}"
    too_wide = {}
    async with opened(browser, site.url, size=SIZES[size], scheme=scheme) as console:
        for name, path in paths.items():
            await console.see(path)
            await photograph(console, f"{name}-{size}-{scheme}")
            too_wide[name] = await console.too_wide()
        await console.is_clean()
    assert {name: pixels for name, pixels in too_wide.items() if pixels > 0} == {}
