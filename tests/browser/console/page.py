"""The console in a browser: one tab, what it asked, and what the browser complained of.

Rule: only the gateway is reached. A request to another host is refused, noted, and fails the test.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Literal, TypedDict, cast
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Request, Route
from typing_extensions import Unpack

from tests.support.wait import eventually

SCREENS = {
    "board": "",
    "jobs": "jobs",
    "moment": "moment",
    "backends": "backends",
    "consumers": "consumers",
    "assets": "assets",
    "archive": "archive",
    "doctor": "doctor",
}
"""Each screen but that of a job, and its path below /console."""

STREAM = "/everfold/v1/farm/stream"
NARROW, USUAL, LARGE = (390, 844), (1440, 900), (3840, 2160)

WATCH_RULES = """() => {
    window.brokenRules = []
    document.addEventListener('securitypolicyviolation',
        (event) => window.brokenRules.push(`${event.violatedDirective} ${event.blockedURI}`))
}"""


Scheme = Literal["dark", "light"]


class Looks(TypedDict, total=False):
    """How a tab looks at the page."""

    size: tuple[int, int]
    scheme: Scheme
    motion: Literal["no-preference", "reduce"]


class Console:
    """One tab."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints = list[str]()
        """Errors of the page and of the browser's console, among them broken rules of the page."""
        self.foreign = set[str]()
        """Hosts that were asked, and not reached."""
        self.asked = list[str]()
        """Path and query of each request but those for previews."""
        self.previews = list[str]()
        """Those, of which there are some a second while jobs run that have them."""
        page.on("pageerror", lambda error: self.complaints.append(f"page: {error}"))
        page.on("console", self._note)
        page.on("request", self._note_request)

    async def see(self, path: str = "") -> None:
        """Open a screen and wait until it has what it shows."""
        await self.page.goto(f"{self.url}/console/{path}")
        await self.is_read()

    async def is_read(self) -> None:
        """Wait until the stream stands and nothing is being read."""
        await self.page.locator(".connection.live").wait_for()
        await self.page.wait_for_function(
            "() => document.querySelector('main :is(h1, .empty)')"
            " && !document.querySelector('p.waiting')"
        )

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            await self.page.keyboard.press(key)

    async def has_text(self, text: str, within_s: float = 15) -> None:
        """Wait until the page shows a text."""
        found = self.page.get_by_text(text).locator("visible=true").first
        await found.wait_for(timeout=within_s * 1000)

    async def focused(self) -> str:
        """Return the text of what has the focus, or its name where it has none."""
        script = """() => { const at = document.activeElement
            return (at.innerText || at.getAttribute('aria-label') || at.tagName).trim() }"""
        return cast("str", await self.page.evaluate(script))

    async def too_wide(self) -> int:
        """Return how many pixels of the page lie beside the window."""
        script = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return cast("int", await self.page.evaluate(script))

    async def requests_end(self) -> None:
        """Wait until nothing was asked for a second."""
        seen = -1

        async def rests() -> bool:
            nonlocal seen
            before, seen = seen, len(self.asked)
            await self.page.wait_for_timeout(1000)
            return before == seen

        await eventually(rests, 20)

    async def is_clean(self) -> None:
        """Fail where the browser complained, or another host was asked."""
        broken = await self.page.evaluate("() => window.brokenRules ?? []")
        found = [*self.complaints, *broken, *self.foreign]
        assert found == [], "\n".join(map(str, found))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location})")

    def _note_request(self, request: Request) -> None:
        if request.url.startswith(self.url):
            path = request.url.removeprefix(self.url)
            (self.previews if "/preview?" in path else self.asked).append(path)

    async def refuse(self, route: Route) -> None:
        """Refuse what is asked of another host."""
        self.foreign.add(urlsplit(route.request.url).hostname or "")
        await route.abort()


@contextlib.asynccontextmanager
async def opened(browser: Browser, url: str, **looks: Unpack[Looks]) -> AsyncIterator[Console]:
    """Open a tab of its own, with cookies and storage of its own."""
    width, height = looks.get("size", USUAL)
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=looks.get("scheme", "light"),
        reduced_motion=looks.get("motion", "no-preference"),
    )
    try:
        await context.add_init_script(f"({WATCH_RULES})()")
        page = await context.new_page()
        console = Console(page, url)
        await page.route(
            lambda asked: asked.startswith("http") and not asked.startswith(url), console.refuse
        )
        yield console
    finally:
        await context.close()
