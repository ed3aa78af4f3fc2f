"""Who sees what: a user the own jobs, a reader no verbs; and what strangers wrote is only text."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from playwright.async_api import Browser, Error

from everfold import Everfold
from everfold.web import add_key
from tests.browser.console.lived_in import Farm, failing, picture
from tests.browser.console.page import NARROW, SCREENS, Console, opened
from tests.support.programs.stack import Stack
from tests.support.wait import eventually
from tests.web.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]

SCRIPT = "<script>window.taken = 1</script><img src=x onerror='window.taken = 2'>"
RIGHT_TO_LEFT = "\u202egnp.exe"
ESCAPES = "\x1b[31mred\x1b[0m"
UNSEEN = "\u200bzero\u200dwidth\ufeff\nnew\r\nline"
LONG = "x" * 10_000
TITLE = f"<b>{RIGHT_TO_LEFT}</b>"


async def log_in(console: Console, key: str) -> None:
    page = console.page

    async def is_asked() -> bool:
        with suppress(Error):  # the page that is there may go to the login by itself meanwhile
            await page.goto(f"{console.url}/console/")
        await page.wait_for_load_state("networkidle" if "/login" in page.url else "load")
        return bool(await page.get_by_label("Key").count() > 0)

    await eventually(is_asked, 20)
    await page.get_by_label("Key").fill(key)
    await page.get_by_role("button", name="Log in").click()
    await console.is_read()
    console.complaints.clear()


async def test_a_user_sees_the_own_jobs_alone(
    site: Site, farm: Farm, browser: Browser, everfold: Everfold
) -> None:
    _, key = await add_key(everfold.log, "ada", user="ada")
    async with opened(browser, site.url) as console:
        await log_in(console, key.reveal())
        await console.has_text("Your running jobs")
        assert await console.page.get_by_role("link", name="Doctor").count() == 0
        await console.see("jobs")
        users = console.page.locator('td[data-name="user"]')
        await users.first.wait_for()
        assert set(await users.all_inner_texts()) == {"ada"}
        await console.is_clean()

        for path in SCREENS.values():
            await console.page.goto(f"{console.url}/console/{path}")
            await console.page.locator(".connection.live").wait_for()
            await console.requests_end()
            shown = await console.page.locator("main").inner_text()
            assert "grace" not in shown, path
            assert farm.failed[-6:] not in shown, path
        await console.see()
        tile = console.page.locator(".tile", has_text="waiting")
        assert "1" in await tile.inner_text()

        await console.page.goto(f"{console.url}/console/jobs/{farm.failed}")
        await console.has_text("Not found")
        assert await console.page.get_by_text("out of colours").count() == 0


LISTEN = """() => {
    window.told = ''
    const source = new EventSource('/everfold/v1/farm/stream')
    for (const kind of ['farm', 'jobs'])
        source.addEventListener(kind, ({data}) => { window.told += data })
    return new Promise((listening) => source.addEventListener('farm', listening, {once: true}))
        .then(() => null)
}"""


async def test_the_stream_tells_a_user_of_the_own_jobs_alone(
    site: Site, farm: Farm, browser: Browser, everfold: Everfold
) -> None:
    _, key = await add_key(everfold.log, "ada", user="ada")
    async with opened(browser, site.url) as console:
        await log_in(console, key.reveal())
        await console.page.evaluate(LISTEN)
        other = (await everfold.submit(picture(20), user="grace", queue="night")).job_id
        own = (await everfold.submit(picture(21), user="ada", queue="night")).job_id
        await console.page.wait_for_function("(id) => window.told.includes(id)", arg=own)

        told = await console.page.evaluate("() => window.told")
        assert other not in told
        assert "grace" not in told
        for path in (f"?job={other}", f"?job={farm.failed}"):
            ask = "(path) => fetch(`/everfold/v1/farm/stream${path}`).then((one) => one.status)"
            assert await console.page.evaluate(ask, path) == 404


async def test_a_reader_has_no_verbs(
    site: Site, farm: Farm, browser: Browser, everfold: Everfold
) -> None:
    _, key = await add_key(everfold.log, "wall", role="reader")
    async with opened(browser, site.url) as console:
        await log_in(console, key.reveal())
        verbs = console.page.get_by_role("button").filter(
            has_text="Cancel|Run again|Drain|Retire|Pause|Retry|Skip"
        )
        for path in ("", "jobs", "backends", "consumers?name=mail", f"jobs/{farm.runs}"):
            await console.see(path)
            buttons = await console.page.get_by_role("button").all_inner_texts()
            for verb in ("Cancel", "Run again", "Drain", "Retire", "Pause", "Retry", "Skip"):
                assert [text for text in buttons if text.startswith(verb)] == []
        assert await verbs.count() == 0
        await console.has_text("reader")
        await console.is_clean()


@pytest.mark.parametrize("size", [NARROW, (1440, 900)], ids=["narrow", "usual"])
async def test_what_strangers_wrote_is_text_and_the_layout_holds(
    site: Site, stack: Stack, browser: Browser, everfold: Everfold, size: tuple[int, int]
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, titles={comfy.url: TITLE})
    await stack.projector()
    hostile = SCRIPT + RIGHT_TO_LEFT + UNSEEN + LONG
    submitted = await everfold.submit(
        failing(hostile),
        user=SCRIPT[:60],
        kind=SCRIPT[:60],
        batch="b" * 64,
        metadata={
            SCRIPT: hostile,
            RIGHT_TO_LEFT: RIGHT_TO_LEFT,
            "escapes": ESCAPES,
            UNSEEN: UNSEEN,
            "deep": {"list": [LONG, None, True]},
        },
        queue="default",
    )
    await stack.until(submitted.job_id, "failed")
    async with opened(browser, site.url, size=size) as console:
        job = await stack.job(submitted.job_id)
        then = f"moment?time={job.started_at_ms}&until={job.ended_at_ms}"
        paths = [*SCREENS.values(), then, f"jobs/{submitted.job_id}", "jobs?user=" + "y" * 2000]
        for path in paths:
            await console.see(path)
            await console.page.wait_for_timeout(300)
            assert await console.page.evaluate("() => window.taken ?? 0") == 0
            assert await console.too_wide() <= 0, path
        await console.see(f"jobs/{submitted.job_id}")
        shown = await console.page.locator("main").inner_text()
        assert SCRIPT in shown
        assert json.dumps(LONG)[:100] in shown
        # A mark that turns the direction of text ends with the text that it is in.
        for place in ("dd", "dt", ".failed p", ".story li"):
            found = console.page.locator(place).first
            assert await found.evaluate("one => getComputedStyle(one).unicodeBidi") == "isolate"
        await console.is_clean()
