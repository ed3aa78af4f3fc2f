"""ComfyUI's web front end in a browser, as a person uses it, and what went over the wire.

Rule: only the gateway is reached. What the front end asks of other hosts is refused and noted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Response, Route, WebSocket

from tests.support.wait import eventually

BOOT_S = 60.0
"""Until the page shows a graph: it loads 30 MB of scripts, on a busy machine."""

VISITED = {"Comfy.TutorialCompleted": b"true", "Comfy.Minimap.Visible": b"false"}
"""Settings of a second visit: the first one offers templates in place of a graph. The map of the
graph costs a machine without a graphics card much time."""

FRONT_ENDS_OWN_HOSTS = {"api.comfy.org", "dashboard.comfy.org", "www.googletagmanager.com"}
"""Hosts that the front end asks by itself, whatever serves it."""

NOTE_WHAT_IS_SHOWN = """() => {
    window.notedTitles = []
    window.notedPictures = []
    document.addEventListener('load', ({target}) => {
        if (target.naturalWidth > 0 && target.src.includes('/view?'))
            window.notedPictures.push(target.src)
    }, true)
    new MutationObserver(() => window.notedTitles.push(document.title))
        .observe(document.head, {subtree: true, childList: true, characterData: true})
}"""
GRAPH_IS_SHOWN = "() => (window.app?.graph?._nodes?.length ?? 0) > 0"


class Editor:
    """One page with the front end."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints = list[str]()
        """Errors of the page, and of the console where they are about this gateway."""
        self.foreign = set[str]()
        """Hosts that were asked, and not reached."""
        self.answers = list[tuple[int, str, str]]()
        """Status, method and path of each answer."""
        self.frames = list[str]()
        """Texts that came over websockets."""
        page.on("pageerror", lambda error: self.complaints.append(f"page: {error}"))
        page.on("console", self._note_console)
        page.on("response", self._note_answer)
        page.on("websocket", self._note_socket)

    async def stay_here(self) -> None:
        """Refuse all that is asked of other hosts."""
        await self.page.route(lambda url: not url.startswith(self.url), self._refuse)

    async def visit(self) -> None:
        """Load the page, until it can be used."""
        await self.page.goto(f"{self.url}/")
        await self.is_ready()

    async def is_ready(self) -> None:
        """Wait until the page can be used."""
        await self.page.wait_for_selector('[data-testid="queue-button"]', timeout=BOOT_S * 1000)
        await self.page.wait_for_function("() => !document.querySelector('#splash-loader')")

    async def graph(self) -> list[str]:
        """Wait until a graph is shown; return the classes of its nodes."""
        await self.page.wait_for_function(GRAPH_IS_SHOWN, timeout=BOOT_S * 1000)
        found = await self.page.evaluate("() => window.app.graph._nodes.map(node => node.type)")
        return cast("list[str]", found)

    async def has_setting(self, name: str, value: object) -> None:
        """Wait until a setting is kept by the gateway."""

        async def kept() -> bool:
            answer = await self.page.request.get(f"{self.url}/api/settings/{name}")
            return bool(await answer.json() == value)

        await eventually(kept, 20)

    async def write_prompt(self, text: str) -> None:
        """Type into the first text of the graph."""
        await self.page.locator('[data-testid="dom-widget-textarea"]').first.fill(text)

    async def set_steps(self, steps: int) -> None:
        """Change the number of steps of the sampler."""
        script = """steps => window.app.graph._nodes.find(node => node.type === 'KSampler')
            .widgets.find(widget => widget.name === 'steps').value = steps"""
        await self.page.evaluate(script, steps)

    async def queue(self) -> None:
        """Queue the graph, as Ctrl+Enter does; titles and pictures are noted from now on."""
        await self.page.evaluate(NOTE_WHAT_IS_SHOWN)
        await self.page.keyboard.press("Control+Enter")

    async def has_frame(self, kind: str, within_s: float = 60) -> None:
        """Wait until a message of this kind has come."""
        await eventually(lambda: any(f'"type":"{kind}"' in text for text in self.frames), within_s)

    async def titles(self) -> list[str]:
        """Return the titles that the page has had since the graph was queued."""
        return cast("list[str]", await self.page.evaluate("() => window.notedTitles"))

    async def picture(self, within_s: float = 60) -> str:
        """Wait until the page has drawn a picture of a job; return its address."""

        async def drawn() -> str:
            found = await self.page.evaluate("() => window.notedPictures[0]")
            return cast("str", found or "")

        return await eventually(drawn, within_s)

    async def photograph(self, name: str) -> None:
        """Keep a picture of the page where EVERFOLD_SCREENSHOTS names a folder."""
        if folder := os.environ.get("EVERFOLD_SCREENSHOTS"):
            await self.page.screenshot(path=Path(folder) / f"{name}.png")

    def _note_console(self, message: ConsoleMessage) -> None:
        place = str(message.location.get("url", ""))
        if message.type == "error" and (urlsplit(place).hostname not in FRONT_ENDS_OWN_HOSTS):
            self.complaints.append(f"console: {message.text} ({place})")

    def _note_answer(self, answer: Response) -> None:
        if answer.url.startswith(self.url):
            path = answer.url.removeprefix(self.url)
            self.answers.append((answer.status, answer.request.method, path))

    def _note_socket(self, socket: WebSocket) -> None:
        socket.on(
            "framereceived",
            lambda frame: self.frames.append(frame) if isinstance(frame, str) else None,
        )

    async def _refuse(self, route: Route) -> None:
        self.foreign.add(urlsplit(route.request.url).hostname or "")
        await route.abort()


@contextlib.asynccontextmanager
async def opened(browser: Browser, url: str) -> AsyncIterator[Editor]:
    """Open a page of its own, with cookies and storage of its own."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        editor = Editor(await context.new_page(), url)
        await editor.stay_here()
        yield editor
    finally:
        await context.close()
