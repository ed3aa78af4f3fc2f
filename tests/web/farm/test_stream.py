"""The stream of the farm, before a real gateway, runner and simulator."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from everfold import Everfold
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually
from tests.web.farm.page import STREAM, Page, looking
from tests.web.own.test_scopes import signed
from tests.web.site import Site, client_of, serving

pytestmark = pytest.mark.anyio

SEEN_BY_ALL = {
    "at_ms", "cursor", "queues", "backends", "runners", "running", "running_besides", "reasons",
}  # fmt: skip


def queue(page: Page, name: str = "default") -> dict[str, object]:
    return next((one for one in page.member("queues") if one["name"] == name), {})


async def test_the_first_message_has_the_whole_farm_and_later_ones_what_changed(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    async with looking(client) as page:
        first = set(page.farm)
        job_id = (await everfold.submit(sleeper(1), user="ada", kind="portrait")).job_id
        await page.until(lambda: job_id in page.jobs)
        await page.until(lambda: queue(page).get("waiting") == [0, 1, 0])

        await everfold.cancel(job_id)
        await page.until(lambda: page.jobs[job_id]["status"] == "canceled")
        await page.until(lambda: queue(page).get("waiting") == [0, 0, 0])

    assert first >= SEEN_BY_ALL
    job = page.jobs[job_id]
    assert (job["user"], job["kind"], job["queue"]) == ("ada", "portrait", "default")
    assert [set(one.data) & {"backends"} for one in page.told[1:] if isinstance(one.data, dict)]


async def test_it_shows_what_runs_where_and_how_far(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    async with looking(client) as page:
        await page.until(lambda: any(one["up"] for one in page.member("backends")))
        job_id = await stack.submit(1.5)
        await page.until(lambda: job_id in {one["job_id"] for one in page.member("running")})
        await page.until(lambda: page.jobs.get(job_id, {}).get("status") == "running")
        await page.until(lambda: any(one["backend"] for one in page.member("running")))
        running = page.member("running")
        await page.until(lambda: any(one["runs"] for one in page.member("backends")))
        backend = page.member("backends")[0]
        await page.until(lambda: page.jobs[job_id]["status"] == "succeeded")
        await page.until(lambda: not page.member("running"))
        await page.until(lambda: page.member("runners") and queue(page)["running"] == 0)

    assert [(one["owner"], one["backend"]) for one in running] == [("runner-2", comfy.url)]
    assert (backend["address"], backend["up"], backend["runs"]) == (comfy.url, True, [job_id])
    assert backend["boot"]
    assert [one["name"] for one in page.member("runners")] == ["runner-2"]


async def test_it_says_why_jobs_wait(client: httpx.AsyncClient, everfold: Everfold) -> None:
    for _ in range(3):
        await everfold.submit(sleeper(1))
    async with looking(client) as page:
        await page.until(lambda: page.member("reasons"))
        reasons = page.member("reasons")
        await client.post("/everfold/v1/queues/default/pause", json={"reason": "cleaning"})
        await page.until(lambda: queue(page).get("paused"))

    assert [(one["code"], one["jobs"]) for one in reasons] == [("no_runner", 3)]
    assert reasons[0]["reason"] == "no runner serves queue default"
    paused = queue(page)["paused"]
    assert isinstance(paused, dict)
    assert paused["reason"] == "cleaning"


async def test_a_user_sees_its_own_jobs_only(client: httpx.AsyncClient, everfold: Everfold) -> None:
    _, headers = await signed(client, everfold, user="ada")
    before = (await everfold.submit(sleeper(1), user="ada")).job_id
    async with looking(client, headers=headers) as page:
        first = dict(page.farm)
        await everfold.submit(sleeper(1), user="bob")
        own = (await everfold.submit(sleeper(1), user="ada")).job_id
        await page.until(lambda: own in page.jobs)
        await page.until(lambda: counts(page)["queued"] == 2)
        await everfold.cancel(before)
        await page.until(lambda: counts(page)["queued"] == 1)
        await page.until(lambda: page.member("reasons"))

    assert first["counts"] == {"queued": 1, "running": 0, "canceling": 0, "is_cut": False}
    assert not {"queues", "backends", "runners"} & set(page.farm)
    assert set(page.jobs) == {own, before}
    assert [(one["code"], one["jobs"]) for one in page.member("reasons")] == [("no_runner", 1)]


def counts(page: Page) -> dict[str, object]:
    found = page.farm["counts"]
    assert isinstance(found, dict)
    return found


async def test_whoever_comes_back_gets_the_farm_and_what_changed_also_at_another_gateway(
    client: httpx.AsyncClient, everfold: Everfold, stack: Stack
) -> None:
    kept = (await everfold.submit(sleeper(1))).job_id
    async with looking(client) as page:
        seen = (await everfold.submit(sleeper(1))).job_id
        await page.until(lambda: seen in page.jobs)
    missed = (await everfold.submit(sleeper(1))).job_id
    await everfold.cancel(seen)

    async with (
        serving(everfold, stack) as other,
        client_of(other) as there,
        looking(there, last_id=page.last_id) as again,
    ):
        await again.until(lambda: {seen, missed} <= set(again.jobs))
        later = (await everfold.submit(sleeper(1))).job_id
        await again.until(lambda: later in again.jobs)

    assert again.jobs[seen]["status"] == "canceled"
    assert kept not in again.jobs
    assert set(again.farm) >= SEEN_BY_ALL
    assert "has_missed" not in again.farm


async def test_a_named_job_has_all_its_events_and_goes_on_where_its_reader_was(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    job_id = await stack.submit(0.5)
    async with looking(client, f"?job={job_id}") as page:
        await page.until(lambda: page.of("log"))
        await stack.runner(await stack.comfy())
        await page.until(lambda: ended(page))
    async with looking(client, f"?job={job_id}", last_id=page.last_id) as again:
        await stack.submit(0.5)
        await again.until(lambda: again.jobs)

    assert seqs(page) == list(range(1, len(seqs(page)) + 1))
    assert again.of("log") == []


def seqs(page: Page) -> list[object]:
    return [one["seq"] for one in page.of("log") if isinstance(one, dict)]


def ended(page: Page) -> bool:
    events = [one["event"] for one in page.of("log") if isinstance(one, dict)]
    return bool(events) and events[-1]["type"] == "job.succeeded"


async def test_what_its_server_says_of_a_named_job_comes_as_it_happens(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    await stack.runner(await stack.comfy())
    job_id = await stack.submit(3)
    async with looking(client, f"?job={job_id}") as page:
        await page.until(lambda: page.of("live"))

    live = page.of("live")[0]
    assert isinstance(live, dict)
    assert (live["job_id"], live["attempt"]) == (job_id, 1)


async def test_a_job_of_somebody_else_is_unknown(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    _, headers = await signed(client, everfold, user="ada")
    other = (await everfold.submit(sleeper(1), user="bob")).job_id
    for job_id in (other, "nobody", "a" * 300, "\x00"):
        answer = await client.get(STREAM, params={"job": job_id}, headers=headers)
        assert answer.status_code in (404, 413, 422), job_id
    preview = await client.get(f"/everfold/v1/jobs/{other}/preview", headers=headers)
    assert preview.status_code == 404


@pytest.mark.parametrize("place", ["1", "zz-!", "z" * 40, "0" * 30_000, "~1", "0.0~" + "9" * 40])
async def test_a_place_that_no_message_had_is_refused(
    client: httpx.AsyncClient, place: str
) -> None:
    answer = await client.get(STREAM, headers={"Last-Event-ID": place})

    assert answer.status_code in (413, 422)


async def test_names_of_others_are_data(client: httpx.AsyncClient, everfold: Everfold) -> None:
    hostile = '<script>alert("1")</script> \u05d0 event: farm'
    async with looking(client) as page:
        job_id = (await everfold.submit(sleeper(1), kind=hostile, tags=["</script>"])).job_id
        await page.until(lambda: job_id in page.jobs)

    assert page.jobs[job_id]["kind"] == hostile
    assert page.jobs[job_id]["tags"] == ["</script>"]


async def test_nothing_is_followed_once_nobody_looks(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everfold.web.farm.farm_feed.UNWATCHED_S", 0.05)
    async with looking(client):
        assert site.gateway.farm.view is not None

    await eventually(lambda: site.gateway.farm.view is None, 10)


async def test_a_reader_that_was_overtaken_misses_no_job(
    site: Site, client: httpx.AsyncClient, everfold: Everfold
) -> None:
    async with looking(client) as page:
        first = (await everfold.submit(sleeper(1))).job_id
        await page.until(lambda: first in page.jobs)
        ring = site.gateway.feeds.records
        ring._items.clear()  # as if more had come than are kept
        ring.end += 10
        jobs = [(await everfold.submit(sleeper(1))).job_id for _ in range(3)]
        await page.until(lambda: set(jobs) <= set(page.jobs))


async def test_many_watchers_are_told_by_one_fold(
    client: httpx.AsyncClient, everfold: Everfold, site: Site
) -> None:
    async with looking(client) as one, looking(client) as other:
        view = site.gateway.farm.view
        job_id = (await everfold.submit(sleeper(1))).job_id
        await asyncio.gather(
            one.until(lambda: job_id in one.jobs), other.until(lambda: job_id in other.jobs)
        )
        assert site.gateway.farm.view is view
    assert one.jobs == other.jobs


async def test_a_page_may_name_its_place_in_the_query(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    async with looking(client) as page:
        seen = (await everfold.submit(sleeper(1))).job_id
        await page.until(lambda: seen in page.jobs)
    missed = (await everfold.submit(sleeper(1))).job_id

    async with looking(client, f"?after={page.last_id}") as again:
        await again.until(lambda: missed in again.jobs)
    assert seen not in again.jobs
    refused = await client.get(STREAM, params={"after": "zz-!"})
    assert refused.status_code == 422
    assert "after" in refused.text


async def test_a_stream_on_which_nothing_happens_says_that_it_is_there(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everfold.web.farm.stream.farm_stream.KEEP_ALIVE_S", 0.05)
    async with looking(client) as page:
        await page.until(lambda: page.of("here"))
        place = page.last_id
        await page.until(lambda: len(page.of("here")) > 1)
    assert place
