"""What clients of the Comfy API v2 see while something behind the gateway dies: the truth."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from comfy_sdk import AsyncComfy

from everfold import Everfold
from everfold.web.looks import Look
from tests.support.programs.stack import sleeper
from tests.support.trouble.rewinds import put, taken
from tests.support.wait import eventually
from tests.web.site import Site, client_of, serving
from tests.web.v2.graphs import short, talking
from tests.web.v2.working import working

pytestmark = pytest.mark.anyio

JOBS = 200
AT_ONCE = 20


async def ended(client: httpx.AsyncClient, path: str) -> tuple[dict[str, object], set[str]]:
    """Poll a job to its end; return it, and all statuses that were shown. Each poll is a 200."""
    seen = set[str]()
    while True:
        answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        job = answer.json()
        seen.add(job["status"])
        if job["completed_at"] is not None:
            return job, seen
        await asyncio.sleep(0.5)


@pytest.mark.timeout(400)
async def test_of_two_hundred_short_jobs_none_is_told_wrong(
    site: Site, client: httpx.AsyncClient
) -> None:
    await working(site, slots=4)
    turn = asyncio.Semaphore(AT_ONCE)

    async def run() -> tuple[str, str, int, bool]:
        async with turn:
            made = await client.post("/api/v2/jobs", json={"workflow": talking("short").json})
            assert made.status_code == 201
            job, seen = await ended(client, f"/api/v2/jobs/{made.json()['id']}")
            outputs = job["outputs"]
            assert isinstance(outputs, list)
            return made.json()["id"], str(job["status"]), len(outputs), "expired" in seen

    found = await asyncio.gather(*(run() for _ in range(JOBS)))

    assert {one[1:] for one in found} == {("succeeded", 1, False)}
    listed = list[str]()
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/api/v2/jobs", params={"limit": "30", **cursor})).json()
        listed += [one["id"] for one in page["jobs"]]
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert sorted(listed) == sorted(one[0] for one in found)


async def test_a_job_is_shown_as_it_is_without_any_projector(
    site: Site, client: httpx.AsyncClient
) -> None:
    await site.stack.runner(await site.stack.comfy(), assets=site.everfold.assets.url)
    made = (await client.post("/api/v2/jobs", json={"workflow": sleeper(0.2)})).json()

    job, _ = await ended(client, f"/api/v2/jobs/{made['id']}")

    assert job["status"] == "succeeded"
    assert (await client.get("/api/v2/jobs")).json()["jobs"][0]["status"] == "succeeded"


async def test_polls_go_on_while_the_runner_and_then_the_server_are_dead(
    site: Site, client: httpx.AsyncClient
) -> None:
    comfy, runner = await working(site)
    made = (await client.post("/api/v2/jobs", json={"workflow": sleeper(3)})).json()
    path = f"/api/v2/jobs/{made['id']}"
    polling = asyncio.create_task(ended(client, path))

    async def running() -> bool:
        return bool((await client.get(path)).json()["status"] == "running")

    await eventually(running, 20)
    runner.kill()
    comfy.kill()
    await comfy.up()
    await site.stack.runner(comfy, assets=site.everfold.assets.url)
    job, seen = await asyncio.wait_for(polling, 60)

    assert job["status"] == "succeeded"
    assert seen <= {"queued", "running", "succeeded"}
    metrics = job["metrics"]
    assert isinstance(metrics, dict)
    assert metrics["attempts"] == 2


async def test_a_job_that_the_server_loses_before_the_answer_is_no_unknown_job(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, look = site.everfold.log, site.gateway.looks.look
    before = await taken(log)

    async def look_at_a_server_that_went_back(job_id: str) -> Look:
        monkeypatch.undo()
        await put(log, before)
        return await look(job_id)

    monkeypatch.setattr(site.gateway.looks, "look", look_at_a_server_that_went_back)
    body, key = {"workflow": sleeper(0.05)}, {"Idempotency-Key": "once"}
    lost = await client.post("/api/v2/jobs", json=body, headers=key)
    assert (lost.status_code, lost.json()["error"]["code"]) == (503, "unavailable")
    assert int(lost.headers["retry-after"]) >= 1
    made = await client.post("/api/v2/jobs", json=body, headers=key)
    assert made.status_code == 201
    assert (await client.get(f"/api/v2/jobs/{made.json()['id']}")).json()["status"] == "queued"


async def test_a_client_goes_on_at_another_gateway(
    everfold: Everfold, site: Site, sdk: AsyncComfy
) -> None:
    async with serving(everfold, site.stack) as first, client_of(first) as client:
        key = {"Idempotency-Key": "once"}
        graph = sleeper(0.05)
        made = await client.post("/api/v2/jobs", json={"workflow": graph}, headers=key)
    await working(site)
    async with client_of(site) as client:
        again = await client.post("/api/v2/jobs", json={"workflow": graph}, headers=key)
        job, _ = await ended(client, f"/api/v2/jobs/{made.json()['id']}")

    assert again.json()["id"] == made.json()["id"] == job["id"]
    assert again.json()["urls"]["self"].startswith(site.url)
    assert job["status"] == "succeeded"


async def test_a_look_costs_one_trip_once_the_place_is_known(
    site: Site, sdk: AsyncComfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.stack.projector()
    job = await sdk.submit(short())
    looks = site.gateway.looks

    async def is_projected() -> bool:
        before = trips
        await looks.look(job.id)
        return trips == before + 1

    trips = 0
    redis = site.everfold.log.redis
    execute_all, execute = redis.execute_all, redis.execute_command

    async def counted_all(*arguments: object, **named: object) -> object:
        nonlocal trips
        trips += 1
        return await execute_all(*arguments, **named)  # type: ignore[arg-type]

    async def counted(*arguments: object, **named: object) -> object:
        nonlocal trips
        trips += 1
        return await execute(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(redis, "execute_all", counted_all)
    monkeypatch.setattr(redis, "execute_command", counted)
    await eventually(is_projected, 10)

    before = trips
    look = await looks.look(job.id)
    assert (trips - before, look.position, look.job.status) == (1, 0, "queued")
