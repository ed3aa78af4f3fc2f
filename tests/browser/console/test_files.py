"""Files that are not stored, and pages on which none of the wanted kind is."""

from __future__ import annotations

import pytest

from everfold import Everfold
from tests.browser.console.lived_in import picture
from tests.browser.console.page import Console
from tests.support.programs.stack import Stack

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.timeout(300)]


async def test_a_file_that_is_not_stored_says_why(
    console: Console, everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy(), assets=everfold.assets.url)
    await stack.projector()
    await everfold.set_limit("assets", "user", "ada", 1)
    job_id = (await everfold.submit(picture(1), user="ada")).job_id
    await stack.until(job_id, "succeeded")
    await console.see(f"jobs/{job_id}")
    await console.has_text("the quota of its user was full")
    assert await console.page.get_by_text("stays on its server").count() == 0


async def test_a_page_without_the_kind_says_that_older_files_may_have_it(
    console: Console, everfold: Everfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everfold.web.own.kept.assets.LOOK_LIMIT", 1)
    for number in range(61):
        await everfold.assets.put(b"text %d" % number, name=f"{number}.txt")
    await console.see("assets?kind=video")
    await console.has_text("None among the newest files")
    await console.page.get_by_role("button", name="Older").click()
    await console.has_text("No files here")
