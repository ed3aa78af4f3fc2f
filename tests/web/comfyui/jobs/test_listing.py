"""GET /api/jobs and its kin, as newer front ends ask for them."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.support.programs.stack import Stack, sleeper
from tests.web.comfyui.jobs.test_prompts import history_of, queued

pytestmark = pytest.mark.anyio


async def listed(client: httpx.AsyncClient, query: str = "") -> dict[str, Any]:
    answer = await client.get(f"/api/jobs{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_what_was_deleted_while_it_waited_is_in_no_list(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    deleted = [await queued(client, sleeper(60)) for _ in range(3)]
    assert (await client.post("/queue", json={"delete": deleted[:1]})).status_code == 200
    assert (await client.post("/queue", json={"clear": True})).status_code == 200
    await stack.runner(await stack.comfy())
    done = await queued(client, sleeper(0.1))
    await history_of(client, done)

    found = await listed(client)
    assert [job["id"] for job in found["jobs"]] == [done]
    assert found["pagination"] == {"offset": 0, "limit": None, "total": 1, "has_more": False}
    assert (await listed(client, "?status=cancelled"))["jobs"] == []


async def test_a_page_is_asked_for_as_with_comfyui(client: httpx.AsyncClient) -> None:
    ids = [await queued(client, sleeper(60)) for _ in range(3)]

    asked = "?status=PENDING,in_progress&sort_by=CREATED_AT&sort_order=ASC&limit=2"
    found = await listed(client, asked)
    assert [job["id"] for job in found["jobs"]] == ids[:2]
    assert found["pagination"] == {"offset": 0, "limit": 2, "total": 3, "has_more": True}
    assert len((await listed(client, "?offset=-1"))["jobs"]) == 3
    for odd in ("limit=0", "limit=-1", "limit=x", "offset=x", "status=odd", "sort_by=x"):
        assert (await client.get(f"/api/jobs?{odd}")).status_code == 400, odd


@pytest.mark.parametrize("named", [None, "x", {}, ["x"], [7], [str(uuid.uuid4()).upper()]])
async def test_a_cancel_of_no_jobs_is_refused(client: httpx.AsyncClient, named: object) -> None:
    waiting = await queued(client, sleeper(60))

    answer = await client.post("/api/jobs/cancel", json={"job_ids": named})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request")
    assert (await client.post("/api/jobs/cancel", json={})).status_code == 400

    for expected in (True, False):
        answer = await client.post("/api/jobs/cancel", json={"job_ids": [waiting]})
        assert answer.json() == {"cancelled": expected}
