"""The official front end boots, edits, queues, shows progress and the picture, cancels, saves."""

from __future__ import annotations

import re
from typing import cast
from urllib.parse import parse_qs, urlsplit

import pytest

from everfold import Everfold
from tests.browser.editor import FRONT_ENDS_OWN_HOSTS, Editor
from tests.support.programs.stack import Stack
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]

LONG = 9_000
"""Steps that take minutes; a sampler has 10,000 at most."""


async def test_it_boots_edits_queues_and_shows_the_picture(
    editor: Editor, everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy(), assets=everfold.assets.url)
    await stack.projector()

    await editor.visit()
    assert {"KSampler", "SaveImage"} <= set(await editor.graph())
    await editor.write_prompt("a red fox")
    await editor.set_steps(40)
    await editor.queue()

    await editor.has_frame("progress")
    await editor.photograph("running")
    await editor.has_frame("executed")
    await editor.has_frame("execution_success")
    picture = await editor.picture()
    assert [title for title in await editor.titles() if re.match(r"\[[1-9]\d?%\]", title)]
    await editor.page.get_by_test_id("assets-tab-button").click()
    await editor.page.locator(f'img[src*="{job_of(picture)}"]').first.wait_for()
    await editor.photograph("picture")
    assert (200, "GET", picture.removeprefix(editor.url)) in editor.answers
    assert [answer for answer in editor.answers if answer[0] >= 400] == []
    assert editor.complaints == []
    assert editor.foreign <= FRONT_ENDS_OWN_HOSTS
    (job,) = (await shown_jobs(editor)).values()
    assert job["status"] == "completed"
    await editor.page.set_viewport_size({"width": 390, "height": 800})
    await editor.photograph("narrow")


async def test_a_running_job_is_cancelled_from_the_page(
    editor: Editor, everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy(), assets=everfold.assets.url)
    await stack.projector()
    await editor.visit()
    await editor.graph()
    await editor.set_steps(LONG)
    await editor.queue()
    await editor.has_frame("progress")

    await editor.page.get_by_label("Cancel current run").click()

    await editor.has_frame("execution_interrupted")

    async def cancelled() -> bool:
        jobs = await shown_jobs(editor)
        return [job["status"] for job in jobs.values()] == ["cancelled"]

    await eventually(cancelled, 30)
    await editor.page.get_by_text("0 active").wait_for()
    await editor.photograph("cancelled")
    assert editor.complaints == []


async def test_settings_and_workflows_are_there_after_a_reload(
    editor: Editor, everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy(), assets=everfold.assets.url)
    await stack.projector()
    await editor.visit()
    await editor.graph()
    page = editor.page

    await page.evaluate("() => window.app.extensionManager.setting.set('Comfy.Graph.Speed', 7)")
    await page.keyboard.press("Control+s")
    await page.get_by_role("dialog").get_by_role("textbox").fill("a fox/in the snow")
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").wait_for(state="detached")
    await editor.has_setting("Comfy.Graph.Speed", 7)
    await page.reload()
    await editor.is_ready()

    kept = "() => window.app.extensionManager.setting.get('Comfy.Graph.Speed')"
    assert await page.evaluate(kept) == 7
    await page.get_by_test_id("workflows-tab-button").click()
    await page.get_by_test_id("side-toolbar").wait_for()
    await page.get_by_text("a fox").first.wait_for()
    await editor.photograph("workflows")
    listed = await page.request.get(f"{editor.url}/api/userdata?dir=workflows&recurse=true")
    assert "a fox/in the snow.json" in await listed.json()
    assert editor.complaints == []


def job_of(picture: str) -> str:
    """Return the job whose picture is at an address."""
    return parse_qs(urlsplit(picture).query)["subfolder"][0]


async def shown_jobs(editor: Editor) -> dict[str, dict[str, object]]:
    """Return what the page is told of jobs."""
    answer = await editor.page.request.get(f"{editor.url}/api/jobs")
    rows = cast("list[dict[str, object]]", (await answer.json())["jobs"])
    return {str(row["id"]): row for row in rows}
