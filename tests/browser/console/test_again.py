"""A job is run again from its page: once, and with exactly the values that are shown."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator

from everfold import Everfold
from tests.browser.console.page import Console
from tests.support.programs.stack import Stack

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]

SEED, OTHER = 18_446_744_073_709_551_557, 12_345_678_901_234_567_891
"""More digits than a number of a browser has."""

GRAPH: dict[str, object] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1}},
    "2": {"class_type": "KSampler", "inputs": {"seed": SEED, "list": [1, [2]], "cfg": 1.5}},
}


async def ended(everfold: Everfold) -> str:
    job_id = (await everfold.submit(GRAPH, user="ada", on_missing="wait")).job_id
    await everfold.cancel(job_id)
    return job_id


async def shown(console: Console, job_id: str) -> Locator:
    await console.see(f"jobs/{job_id}")
    await console.page.get_by_text("Run again with other values").click()
    return console.page.locator("form:has(label)").filter(has_text="KSampler")


async def again(console: Console, everfold: Everfold, job_id: str) -> dict[str, object]:
    """Send the form, and return the graph of the new job."""
    await console.page.get_by_role("button", name="Run again with").click()
    await console.page.wait_for_function("(id) => !location.pathname.endsWith(id)", arg=job_id)
    return await everfold.graph(console.page.url.rpartition("/")[2])


async def test_each_digit_of_a_seed_is_shown_and_sent(
    console: Console, everfold: Everfold, stack: Stack
) -> None:
    job_id = await ended(everfold)
    await stack.projector()
    form = await shown(console, job_id)
    seed = form.get_by_label("KSampler · seed")
    assert await seed.input_value() == str(SEED)
    await seed.fill(str(OTHER))
    await form.get_by_label("KSampler · cfg").fill("7.25")
    assert await seed.input_value() == str(OTHER)
    graph = await again(console, everfold, job_id)

    assert graph["2"] == {"class_type": "KSampler", "inputs": {
        "seed": OTHER, "list": [1, [2]], "cfg": 7.25}}  # fmt: skip


async def test_a_list_is_changed_as_json_and_what_is_none_is_not_sent(
    console: Console, everfold: Everfold, stack: Stack
) -> None:
    job_id = await ended(everfold)
    await stack.projector()
    form = await shown(console, job_id)
    given = form.get_by_label("KSampler · list")
    assert await given.input_value() == "[1,[2]]"
    await form.get_by_label("KSampler · cfg").fill("2")
    for broken in ("[1,", ""):
        await given.fill(broken)
        await console.page.get_by_role("button", name="Run again with").click()
        assert await given.evaluate("one => one.validationMessage")
    await given.fill("[3]")
    await form.get_by_label("KSampler · cfg").fill("")
    await console.page.get_by_role("button", name="Run again with").click()
    assert await form.get_by_label("KSampler · cfg").evaluate("one => one.validationMessage")
    await form.get_by_label("KSampler · cfg").fill("2")
    graph = await again(console, everfold, job_id)

    assert graph["2"] == {"class_type": "KSampler", "inputs": {
        "seed": SEED, "list": [3], "cfg": 2}}  # fmt: skip


async def test_two_clicks_run_a_job_again_once(
    console: Console, everfold: Everfold, stack: Stack
) -> None:
    job_id = await ended(everfold)
    await stack.projector()
    await console.see(f"jobs/{job_id}")
    await console.page.get_by_role("button", name="Run again", exact=True).dblclick()
    await console.page.wait_for_function("(id) => !location.pathname.endsWith(id)", arg=job_id)
    await console.requests_end()
    assert sum(path.endswith("/rerun") for path in console.asked) == 1
