"""Everfold's own routes for looking at jobs."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from everfold import Everfold
from everfold.demo.jobs import failing as failing_graph
from everfold.projector.job.job import Job
from tests.support.programs.stack import Stack, sleeper

pytestmark = pytest.mark.anyio

JOBS = "/everfold/v1/jobs"


async def ended_job(stack: Stack) -> str:
    await stack.runner(await stack.comfy())
    job_id = await stack.submit(0.3)
    await stack.until(job_id, "succeeded")
    return job_id


async def test_a_job_is_returned_whole(
    client: httpx.AsyncClient, stack: Stack, everfold: Everfold
) -> None:
    job_id = await ended_job(stack)

    answer = await client.get(f"{JOBS}/{job_id}")

    assert answer.status_code == 200
    assert msgspec.json.decode(answer.content, type=Job) == await everfold.get(job_id)


async def test_a_job_that_nobody_submitted_is_not_found(client: httpx.AsyncClient) -> None:
    for name in ("nobody", "x" * 5_000, "%00", "%F0%9F%92%A9"):
        answer = await client.get(f"{JOBS}/{name}")

        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"
        assert "there is no job" in answer.json()["error"]["message"]


async def test_jobs_are_listed_by_what_is_asked_for(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    ids = [
        (await everfold.submit(sleeper(1), user=user, tags=[tag], metadata={"page": 3})).job_id
        for user, tag in (("ada", "red"), ("ada", "blue"), ("bob", "red"))
    ]

    async def listed(query: str) -> set[int]:
        answer = await client.get(f"{JOBS}?{query}")
        assert answer.status_code == 200, answer.text
        return {ids.index(job["job_id"]) for job in answer.json()["jobs"]}

    assert await listed("") == {0, 1, 2}
    assert await listed("user=ada&tag=red") == {0}
    assert await listed("status=queued&status=running&user=ada") == {0, 1}
    assert await listed("status=failed") == set()
    assert await listed("metadata=page%3D3&tag=red") == {0, 2}
    assert await listed("newer_than=2020-01-01T00:00:00Z&older_than=99999999999999") == {0, 1, 2}
    assert await listed("older_than=1000") == set()


async def test_failed_jobs_are_found_by_a_part_of_their_error(
    client: httpx.AsyncClient, everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy())
    failing = (await everfold.submit(failing_graph())).job_id
    await stack.until(failing, "failed")
    whole = (await client.get(f"{JOBS}/{failing}")).json()["error"]["message"]
    await everfold.submit(sleeper(1), queue="nobody")

    async def listed(text: str) -> list[str]:
        page = (await client.get(JOBS, params={"error": text})).json()
        return [job["job_id"] for job in page["jobs"]]

    assert len(whole) > 5
    assert await listed(whole[2:].upper()) == [failing]
    assert await listed("nobody says this") == []
    many = {"filter": {"error": "nobody says this"}}
    assert (await client.post(f"{JOBS}/rerun", json=many)).json()["selected"] == 0


async def test_pages_of_a_list_hold_each_job_once(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    ids = {(await everfold.submit(sleeper(1))).job_id for _ in range(7)}
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get(JOBS, params={"limit": 3, "cursor": cursor})).json()
        found += [job["job_id"] for job in page["jobs"]]
        cursor = page["cursor"]

    assert sorted(found) == sorted(ids)


async def test_a_job_is_shown_as_it_was(client: httpx.AsyncClient, stack: Stack) -> None:
    job_id = await ended_job(stack)
    end = (await client.get(f"{JOBS}/{job_id}")).json()

    first = (await client.get(f"{JOBS}/{job_id}/at?seq=1")).json()
    last = (await client.get(f"{JOBS}/{job_id}/at?seq={end['seq']}")).json()
    before_ms = end["ended_at_ms"] - 1
    before = (await client.get(f"{JOBS}/{job_id}/at?time={before_ms}")).json()

    assert (first["status"], first["seq"]) == ("queued", 1)
    assert last == end
    assert before["status"] == "running"


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("", 422, "give one point: seq, or time"),
        ("seq=1&time=5", 422, "give one point: seq, or time"),
        ("seq=99", 422, "the job has 1 events"),
        ("time=1000", 404, "there was no job"),
        ("seq=0", 422, "use a whole number from 1"),
        ("time=yesterday", 422, "2026-01-31T12:00:00Z"),
    ],
)
async def test_a_point_that_a_job_does_not_have_is_named(
    client: httpx.AsyncClient, stack: Stack, query: str, status: int, told: str
) -> None:
    job_id = await stack.submit()

    answer = await client.get(f"{JOBS}/{job_id}/at?{query}")

    assert answer.status_code == status
    assert told in answer.json()["error"]["message"]


async def test_why_a_job_waits_is_told(client: httpx.AsyncClient, stack: Stack) -> None:
    job_id = await stack.submit()

    why = (await client.get(f"{JOBS}/{job_id}/why")).json()

    assert why["code"] == "no_runner"
    assert "no runner serves queue default" in why["sentence"]


async def test_the_files_of_a_job_are_listed(client: httpx.AsyncClient, stack: Stack) -> None:
    job_id = await ended_job(stack)

    files = (await client.get(f"{JOBS}/{job_id}/files")).json()["files"]

    assert [one["filename"].startswith("stack") for one in files] == [True]
    assert (files[0]["node"], files[0]["why"]) == ("3", "kept")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("statuss=failed", "did you mean status?"),
        ("status=gone", "choose one of queued"),
        ("limit=0", "from 1 to 1,000"),
        ("limit=1001", "from 1 to 1,000"),
        ("limit=-1", "whole number"),
        ("limit=1e3", "whole number"),
        ("limit=" + "9" * 5_000, "whole number"),
        ("limit=1&limit=2", "give it once"),
        ("cursor=here", "give back the one that came with the last page"),
        ("metadata=page", "name=value"),
        ("newer_than=nan", "2026-01-31T12:00:00Z"),
        ("user=%0a", "control characters"),
    ],
)
async def test_a_wrong_query_is_refused_with_what_to_do(
    client: httpx.AsyncClient, query: str, told: str
) -> None:
    answer = await client.get(f"{JOBS}?{query}")

    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_request"
    assert told in answer.json()["error"]["message"]
