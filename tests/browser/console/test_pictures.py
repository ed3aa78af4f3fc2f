"""Each screen at each width and in both schemes: nothing lies beside the window.

EVERFOLD_SCREENSHOTS names a folder that keeps a picture of each; `make pictures` takes those that
the documents show.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Browser

from tests.browser.console.lived_in import Farm
from tests.browser.console.page import LARGE, NARROW, SCREENS, USUAL, Console, Scheme, opened
from tests.web.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]

HIGHEST = 2_600
"""Pixels of a picture; a page may be longer."""

SIZES = {"narrow": NARROW, "usual": USUAL, "large": LARGE}


async def has_all(console: Console, name: str) -> None:
    """Wait for what the board is told last: what is wrong, and the charts."""
    if name == "board":
        for part in (".alarm", ".chart"):
            await console.page.locator(part).first.wait_for()


async def photograph(console: Console, name: str) -> None:
    folder = os.environ.get("EVERFOLD_SCREENSHOTS")
    if not folder:
        return
    images = console.page.locator("img[loading=lazy]")
    await images.evaluate_all("all => all.forEach((one) => { one.loading = 'eager' })")
    await console.page.wait_for_function("() => [...document.images].every((one) => one.complete)")
    taken = Image.open(BytesIO(await console.page.screenshot(full_page=True)))
    taken.crop((0, 0, taken.width, min(taken.height, HIGHEST))).save(
        Path(folder) / f"{name}.webp", quality=80, method=6
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
async def test_each_screen_fits_its_window(
    site: Site, farm: Farm, browser: Browser, size: str, scheme: Scheme
) -> None:
    paths = {**SCREENS, "made": f"jobs/{farm.made}", "failed": f"jobs/{farm.failed}"}
    paths |= {"running": f"jobs/{farm.runs}", "waiting": f"jobs/{farm.waits}"}
    paths["held"] = "consumers?name=mail"
    paths["then"] = f"moment?time={(await site.stack.job(farm.runs)).started_at_ms}"
    too_wide = {}
    async with opened(browser, site.url, size=SIZES[size], scheme=scheme) as console:
        for name, path in paths.items():
            await console.see(path)
            await has_all(console, name)
            await photograph(console, f"{name}-{size}-{scheme}")
            too_wide[name] = await console.too_wide()
        await console.is_clean()
    assert {name: pixels for name, pixels in too_wide.items() if pixels > 0} == {}
