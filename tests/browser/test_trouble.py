"""The official front end while a runner is killed, and behind keys."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from everfold import Everfold
from everfold.streams.user_files.user_settings import write_user_settings
from everfold.web import add_key
from tests.browser.editor import VISITED, Editor, opened
from tests.support.programs.stack import Stack
from tests.support.wait import eventually
from tests.web.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]

STEPS = 150
"""Steps that take a few seconds."""


async def test_a_page_gets_its_picture_though_the_runner_is_killed(
    editor: Editor, everfold: Everfold, stack: Stack
) -> None:
    comfy = await stack.comfy()
    runners = [await stack.runner(comfy, assets=everfold.assets.url) for _ in range(2)]
    await stack.projector()
    await editor.visit()
    await editor.graph()
    await editor.set_steps(STEPS)
    await editor.queue()
    await editor.has_frame("progress")
    job_id = await only_job(editor)

    owner, _ = await stack.owner_among(job_id, *runners)
    owner.kill()

    await editor.has_frame("execution_success", 90)
    await editor.picture()
    assert "recovered" in await stack.event_types(job_id)
    assert len(await comfy.executions()) == 1
    assert editor.complaints == []


async def test_behind_keys_the_page_asks_for_one_and_works(
    site: Site, everfold: Everfold, stack: Stack, browser: Browser
) -> None:
    await stack.runner(await stack.comfy(), assets=everfold.assets.url)
    await stack.projector()
    _, key = await add_key(everfold.log, "ada's browser", user="ada")
    await write_user_settings(everfold.log, "ada", VISITED)
    async with opened(browser, site.url) as editor:
        page = editor.page

        async def is_asked() -> bool:
            await page.goto(f"{site.url}/")
            return "/login" in page.url

        await eventually(is_asked, 10)
        await editor.photograph("login")
        await page.get_by_label("Key").fill(key.reveal())
        await page.get_by_role("button", name="Log in").click()
        await editor.is_ready()
        await editor.graph()
        await editor.queue()
        await editor.has_frame("execution_success")
        await editor.picture()
        assert editor.complaints == []
        (job,) = (await everfold.list(user="ada")).jobs
        assert job.status == "succeeded"


async def only_job(editor: Editor) -> str:
    """Return the id of the one job that the page has queued."""
    answer = await editor.page.request.get(f"{editor.url}/api/jobs")
    (row,) = (await answer.json())["jobs"]
    return str(row["id"])
