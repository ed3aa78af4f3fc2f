"""What keeps people out: axe-core finds nothing serious, and the keyboard reaches everything."""

from __future__ import annotations

from typing import cast

import pytest
from playwright.async_api import Browser

from tests.browser.console.lived_in import Farm
from tests.browser.console.page import NARROW, SCREENS, USUAL, Console, Scheme, opened
from tests.web.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]

LOOK = """async () => (await axe.run(document)).violations
    .filter(({impact}) => impact === 'serious' || impact === 'critical')
    .flatMap(({id, nodes}) => nodes.map(({html, any}) =>
        `${id}: ${html.slice(0, 150)} ${any[0]?.message ?? ''}`))"""

IS_OUTLINED = """() => { const style = getComputedStyle(document.activeElement)
    return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 }"""

REACHED_BY_TAB = """() => {
    window.reached = new Set()
    document.addEventListener('focusin', ({target}) => window.reached.add(target))
    return [...document.querySelectorAll('a[href], button:not(:disabled), input, select, summary')]
        .filter((one) => one.checkVisibility()).length }"""

IS_AT_THE_BEGINNING = """() => document.activeElement === document.body
    || (window.reached.size > 1 && document.activeElement.matches('.skip'))"""


@pytest.mark.parametrize("size", [NARROW, USUAL], ids=["narrow", "usual"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_screen_has_a_serious_barrier(
    site: Site, farm: Farm, browser: Browser, axe: str, scheme: Scheme, size: tuple[int, int]
) -> None:
    found = {}
    paths = {**SCREENS, "made": f"jobs/{farm.made}", "failed": f"jobs/{farm.failed}"}
    paths |= {"running": f"jobs/{farm.runs}", "nowhere": "nowhere", "held": "consumers?name=mail"}
    paths["then"] = f"moment?time={(await site.stack.job(farm.runs)).started_at_ms}"
    async with opened(browser, site.url, scheme=scheme, size=size) as console:
        for name, path in paths.items():
            await console.see(path)
            found[name] = await barriers(console, axe)
        await console.press("?")
        await console.page.get_by_role("dialog").wait_for()
        found["keys"] = await barriers(console, axe)
    assert {name: each for name, each in found.items() if each} == {}


async def barriers(console: Console, axe: str) -> list[str]:
    await console.page.evaluate(axe)
    return cast("list[str]", await console.page.evaluate(LOOK))


async def test_keys_lead_to_screens_rows_and_the_filter(console: Console, farm: Farm) -> None:
    await console.see()
    await console.press("g", "j")
    await console.page.wait_for_url("**/console/jobs")
    await console.page.locator("tbody tr").nth(1).wait_for()

    await console.press("j")
    first = await console.focused()
    assert await console.page.evaluate(IS_OUTLINED)
    await console.press("j")
    assert await console.focused() != first
    await console.press("k")
    assert await console.focused() == first
    await console.press("Enter")
    await console.page.locator("h1 .id").wait_for()
    assert first.split("…")[0] in console.page.url

    await console.press("g", "j")
    await console.page.locator("[data-filter]").wait_for()
    await console.press("/")
    assert await console.focused() == "Filter"
    assert await console.page.evaluate(IS_OUTLINED)
    await console.press("Escape")
    assert await console.focused() != "Filter"
    await console.press("g", "b")
    await console.page.get_by_role("heading", name="Board").wait_for()
    await console.is_clean()


async def test_a_dialog_keeps_the_focus_and_gives_it_back(console: Console, farm: Farm) -> None:
    await console.see(f"jobs/{farm.runs}")
    cancel = console.page.get_by_role("button", name="Cancel …")
    await cancel.focus()
    await console.press("Enter")
    dialog = console.page.get_by_role("dialog")
    await dialog.wait_for()

    inside = """() => document.activeElement === document.body
        || document.querySelector('dialog').contains(document.activeElement)"""
    for _ in range(8):
        await console.press("Tab")
        assert await console.page.evaluate(inside)
    await console.press("Escape")
    await dialog.wait_for(state="detached")
    assert await console.focused() == "Cancel …"
    assert (await console.page.get_by_text("running").count()) > 0


async def test_tab_reaches_each_thing_outlines_it_and_leaves_it(
    console: Console, farm: Farm
) -> None:
    paths = [*SCREENS.values(), f"jobs/{farm.made}", "consumers?name=mail", "nowhere"]
    for path in paths:
        await console.see(path)
        reached = await console.page.evaluate(REACHED_BY_TAB)
        for _ in range(reached * 2 + 20):
            await console.press("Tab")
            if await console.page.evaluate(IS_AT_THE_BEGINNING):
                break
            at = "() => document.activeElement.outerHTML.slice(0, 120)"
            assert await console.page.evaluate(IS_OUTLINED), await console.page.evaluate(at)
        else:
            pytest.fail(f"{path}: what has the focus keeps it")
        assert await console.page.evaluate("() => window.reached.size") >= reached * 0.9, path


async def test_nothing_moves_for_those_who_want_it_still(
    site: Site, farm: Farm, browser: Browser
) -> None:
    async with opened(browser, site.url, motion="reduce") as console:
        await console.see()
        script = """() => [...document.querySelectorAll('*')].filter((one) => {
            const style = getComputedStyle(one)
            return style.animationName !== 'none' || style.transitionDuration !== '0s'
        }).map((one) => one.outerHTML.slice(0, 80))"""
        await console.page.locator(".run .bar").first.wait_for()
        assert await console.page.evaluate(script) == []
