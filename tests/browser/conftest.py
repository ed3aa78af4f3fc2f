"""A real Chromium before a gateway that serves ComfyUI's official web front end.

`make browser` installs both and names them: EVERFOLD_CHROMIUM, EVERFOLD_FRONT_END.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

from everfold import Everfold
from everfold.streams.user_files.user_settings import write_user_settings
from everfold.web import WebSettings
from tests.browser.editor import VISITED, Editor, opened
from tests.support.programs.stack import Stack
from tests.web.conftest import everfold, stack
from tests.web.site import Site, serving

__all__ = ["everfold", "stack"]

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def _named(variable: str, what: str, found: str | None) -> str:
    place = os.environ.get(variable) or found
    if not place:
        pytest.fail(f"there is no {what} here: run `make browser`, or name one in {variable}")
    return place


@pytest.fixture(scope="session")
def front_end() -> str:
    return _named("EVERFOLD_FRONT_END", "web front end of ComfyUI", None)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    path = _named("EVERFOLD_CHROMIUM", "Chromium", found)
    # Chromium's sandbox does not run as root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        await browser.close()


@pytest.fixture
async def site(everfold: Everfold, stack: Stack, front_end: str) -> AsyncIterator[Site]:
    async with serving(everfold, stack, WebSettings(front_end=front_end)) as site:
        yield site


@pytest.fixture
async def editor(site: Site, browser: Browser) -> AsyncIterator[Editor]:
    """A page of somebody who has been here before."""
    await write_user_settings(site.everfold.log, "", VISITED)
    async with opened(browser, site.url) as editor:
        yield editor
