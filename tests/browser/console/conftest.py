"""The console before a gateway of its own, and the tool that looks for barriers.

`make browser` names the tool in EVERFOLD_AXE: axe-core is fetched for these tests alone.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from everfold import Everfold
from tests.browser.console.lived_in import Farm, live_in
from tests.browser.console.page import Console, opened
from tests.support.programs.stack import Stack
from tests.web.conftest import site
from tests.web.site import Site

__all__ = ["site"]


@pytest.fixture
async def farm(
    everfold: Everfold, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Farm:
    # Else doctor finds that commands would look for files elsewhere.
    monkeypatch.setenv("EVERFOLD_ASSETS", str(tmp_path / "assets"))
    return await live_in(everfold, stack, tmp_path)


@pytest.fixture
async def console(site: Site, browser: Browser) -> AsyncIterator[Console]:
    async with opened(browser, site.url) as console:
        yield console


@pytest.fixture(scope="session")
def axe() -> str:
    place = os.environ.get("EVERFOLD_AXE")
    if not place:
        pytest.fail("there is no axe-core here: run `make browser`, or name its axe.min.js")
    return Path(place).read_text(encoding="utf-8")
