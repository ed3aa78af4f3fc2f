"""Each screen shows what its farm has, asks nothing that it need not, and breaks no rule."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from everfold import Everfold
from everfold.web import WebSettings
from tests.browser.console.lived_in import NAMES, Farm
from tests.browser.console.page import SCREENS, STREAM, Console, opened
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually
from tests.web.site import serving

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]


async def test_each_screen_boots_and_shows_its_data(console: Console, farm: Farm) -> None:
    shown = {
        "board": ("default", *NAMES, "runner-3", "JTSleepProgress"),
        "jobs": ("succeeded", "failed", "out of colours", "portrait"),
        "backends": (*NAMES, "runner-3", "runner-4", "Retire"),
        "consumers": ("mail",),
        "archive": ("archive", "whole"),
        "doctor": ("persistence",),
    }
    for name, path in SCREENS.items():
        await console.see(path)
        for text in shown.get(name, ()):
            await console.has_text(text)
    await console.see("assets")
    await pictures_are_drawn(console, 3)
    await console.is_clean()


async def test_a_job_boots_with_its_picture_story_lanes_graph_and_proof(
    console: Console, farm: Farm
) -> None:
    await console.see(f"jobs/{farm.made}")

    await pictures_are_drawn(console, 1)
    for text in ("attempt 1: accepted by ComfyUI", "proven", "KSampler", "portrait"):
        await console.has_text(text)
    lanes = await console.page.locator(".gantt .lane .name").all_inner_texts()
    assert lanes[0] == "nobody"
    assert lanes[1].startswith("runner-")
    assert len(lanes) == 4  # who waited, the runner, the server, and the axis
    assert lanes[2] in NAMES
    await console.has_text("succeeded")
    await console.is_clean()


async def test_a_job_that_failed_says_why_and_marks_the_node(console: Console, farm: Farm) -> None:
    await console.see(f"jobs/{farm.failed}")

    await console.has_text("out of colours")
    await console.page.locator(".graph .bad").filter(has_text="JTRaise").first.wait_for()
    await console.is_clean()


async def test_a_moment_of_the_past_is_shown(console: Console, farm: Farm, stack: Stack) -> None:
    job = await stack.job(farm.runs)
    await console.see(f"moment?time={job.started_at_ms}")

    await console.has_text("folded from")
    await console.page.locator(f'[title="{farm.runs}"]').first.wait_for()
    await console.is_clean()


async def test_a_tab_that_nobody_touches_asks_nothing_but_its_stream(
    console: Console, everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy())
    await stack.projector()
    for path in SCREENS.values():
        await console.see(path)
        await console.requests_end()
        asked = len(console.asked)
        job_id = (await stack.log.submit({"1": {"class_type": "EmptyImage", "inputs": {}}})).job_id
        await stack.ended(job_id)
        # The clock of the page goes on for some of its seconds, and the stream brings the job.
        await console.page.wait_for_timeout(2500)
        assert console.asked[asked:] == [], path
    streams = [path for path in console.asked if path.startswith(STREAM)]
    assert len(streams) == len(SCREENS)
    await console.is_clean()


@pytest.mark.parametrize("screen", ["board", "job"])
async def test_a_running_job_moves_without_being_read_again(
    console: Console, farm: Farm, screen: str
) -> None:
    await console.see(f"jobs/{farm.runs}" if screen == "job" else "")
    await console.requests_end()
    bar = console.page.locator(".run .bar").first

    async def part() -> float:
        width = await bar.locator("span").evaluate("span => parseFloat(span.style.width)")
        return float(width)

    before = await part()
    asked = len(console.asked)
    await eventually(lambda: _moved(part, before), 20)
    assert console.asked[asked:] == []


async def test_the_story_of_a_running_job_stands_at_its_newest_line(
    console: Console, farm: Farm
) -> None:
    await console.see(f"jobs/{farm.runs}")
    newest = console.page.locator(".story li").last
    await newest.filter(has_text="progress, told").wait_for()
    await console.requests_end()
    asked, before = len(console.asked), await newest.inner_text()

    async def has_moved() -> bool:
        return bool(await newest.inner_text() != before)

    await eventually(has_moved, 20)
    assert console.asked[asked:] == []
    assert await console.page.locator(".story li").count() < 12
    for place in (".story", ".events"):
        left = "one => one.scrollHeight - one.scrollTop - one.clientHeight"
        assert await console.page.locator(place).evaluate(left) < 30
    # Who scrolls back to the beginning stays there.
    events = console.page.locator(".events")
    is_long = "() => { const one = document.querySelector('.events')\n"
    is_long += "return one.scrollHeight - one.clientHeight > 200 }"
    await console.page.wait_for_function(is_long, timeout=60_000)
    await events.evaluate("one => { one.scrollTop = 0 }")
    await console.page.wait_for_timeout(2500)
    assert await events.evaluate("one => one.scrollTop") == 0
    names = await console.page.locator(".story").inner_text()
    assert any(f"will be sent to {name}" in names for name in NAMES)
    await console.is_clean()


async def test_a_filter_is_kept_as_a_view(console: Console, farm: Farm) -> None:
    await console.see("jobs?status=failed")
    await console.page.get_by_role("button", name="Save view …").click()
    await console.page.get_by_label("Name").fill("what <b>broke</b>")
    await console.press("Enter")
    await console.has_text("The view is saved.")

    await console.see("jobs")
    await console.page.get_by_role("button", name="what <b>broke</b>", exact=True).click()
    await console.page.wait_for_url("**/console/jobs?status=failed")
    statuses = console.page.locator("tbody .status")
    await console.is_read()
    assert set(await statuses.all_inner_texts()) == {"failed"}
    await console.is_clean()


@pytest.mark.parametrize("screen", ["board", "backends", "job"])
async def test_the_newest_preview_of_what_runs_is_shown(
    console: Console, farm: Farm, screen: str
) -> None:
    paths = {"board": "", "backends": "backends", "job": f"jobs/{farm.runs}"}
    await console.see(paths[screen])
    picture = console.page.locator("img.preview").first
    await picture.wait_for()

    async def is_drawn() -> bool:
        return bool(await picture.evaluate("img => img.naturalWidth > 0"))

    await eventually(is_drawn, 10)
    asked = len(console.previews)
    await eventually(lambda: _more(console.previews, asked + 2), 20)
    assert await is_drawn()
    await console.is_clean()


async def test_the_trace_of_a_job_is_linked_where_people_see_traces(
    everfold: Everfold, stack: Stack, browser: Browser
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    submitted = await everfold.submit(sleeper(1), traceparent=f"00-{trace}-b7ad6b7169203331-01")
    settings = WebSettings(trace_url="https://traces.example/trace/{trace_id}")
    async with (
        serving(everfold, stack, settings) as site,
        opened(browser, site.url) as console,
    ):
        await console.see(f"jobs/{submitted.job_id}")
        link = console.page.get_by_role("link", name=trace)
        assert await link.get_attribute("href") == f"https://traces.example/trace/{trace}"
        await console.is_clean()


async def _more(found: list[str], count: int) -> bool:
    return len(found) >= count


async def _moved(part: object, before: float) -> bool:
    assert callable(part)
    return bool(await part() > before)


async def pictures_are_drawn(console: Console, count: int) -> None:
    script = """(count) => [...document.querySelectorAll('.picture img')]
        .filter((img) => img.naturalWidth > 0).length >= count"""
    await console.page.wait_for_function(script, arg=count, timeout=20_000)
