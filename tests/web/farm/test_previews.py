"""A page knows of what runs there is a picture, and asks for no picture that is not there."""

from __future__ import annotations

from typing import cast

import httpx
import pytest

from everfold import Everfold
from everfold.projector.job.job import Job
from everfold.web.farm.pictures import EVERY_MS, KEPT_MS, LIMIT, Pictures
from tests.support.programs.stack import Stack, sleeper
from tests.web.farm.page import Page, looking
from tests.web.own.test_scopes import signed

pytestmark = pytest.mark.anyio


def pictured(seconds: float) -> dict[str, object]:
    """A graph that sleeps, with a preview at each step."""
    graph = cast("dict[str, dict[str, dict[str, object]]]", sleeper(seconds))
    graph["2"]["inputs"]["preview"] = True
    return dict(graph)


def previews(page: Page) -> dict[str, int]:
    return cast("dict[str, int]", page.farm.get("previews", {}))


async def test_what_runs_is_told_with_its_newest_picture(
    client: httpx.AsyncClient, everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy())
    job_id = (await everfold.submit(pictured(6), user="ada")).job_id
    path = f"/everfold/v1/jobs/{job_id}/preview"
    before = await client.get(path)
    async with looking(client) as page:
        await page.until(lambda: job_id in previews(page))
        first = previews(page)[job_id]
        picture = await client.get(path, params={"number": first})
        await page.until(lambda: previews(page)[job_id] > first)
        second = previews(page)[job_id]
        await page.until(lambda: page.jobs.get(job_id, {}).get("status") == "succeeded")
        await page.until(lambda: not previews(page))

    assert (before.status_code, before.content) == (204, b"")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    assert second - first >= EVERY_MS


async def test_a_user_hears_of_no_picture_of_others(
    client: httpx.AsyncClient, everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy(), await stack.comfy())
    _, ada = await signed(client, everfold, user="ada")
    _, bob = await signed(client, everfold, user="bob")
    own = (await everfold.submit(pictured(8), user="ada")).job_id
    async with looking(client, headers=ada) as page, looking(client, headers=bob) as other:
        await page.until(lambda: own in previews(page))
        theirs = (await everfold.submit(pictured(4), user="bob")).job_id
        await other.until(lambda: theirs in previews(other))

    assert set(previews(other)) == {theirs}
    assert [one for one in page.told if theirs in str(one.data)] == []


def running(job_id: str, attempt: int = 1) -> Job:
    return Job(job_id=job_id, attempt=attempt, attempt_state="accepted")


def test_a_picture_is_told_once_in_a_while_and_the_last_one_always() -> None:
    pictures, job = Pictures(), running("a")
    assert pictures.note("a", 1, 10_000)
    assert pictures.of([job], 10_001) == {"a": 10_000}
    assert not pictures.note("a", 1, 10_300)
    assert pictures.of([job], 10_301) == {"a": 10_000}
    assert pictures.of([job], 11_500) == {"a": 10_300}
    assert pictures.note("a", 1, 11_400)
    assert pictures.of([job], 11_500) == {"a": 11_400}


def test_pictures_that_are_old_of_an_earlier_attempt_or_too_many_are_not_told() -> None:
    pictures = Pictures()
    pictures.note("a", 1, 10_000)
    pictures.note("b", 1, 20_000)
    assert pictures.of([running("a", 2), running("b")], 20_000) == {"b": 20_000}
    assert pictures.of([running("b")], 20_001 + KEPT_MS) == {}
    pictures.forget_old(20_001 + KEPT_MS)
    for number in range(LIMIT + 1):
        pictures.note(str(number), 1, 90_000)
    assert "0" not in pictures.of([running("0")], 90_000)
    assert pictures.of([running("1")], 90_000) == {"1": 90_000}
