"""What is done to jobs by Everfold's own routes."""

from __future__ import annotations

import httpx
import pytest

from everfold import Everfold
from everfold.streams.appending.log import UNLEASED
from everfold.streams.events.event import Expired
from tests.support.programs.stack import Stack, sleeper

pytestmark = pytest.mark.anyio

JOBS = "/everfold/v1/jobs"


async def test_a_job_is_canceled_with_its_reason(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    job_id = (await everfold.submit(sleeper(1))).job_id

    answer = await client.post(f"{JOBS}/{job_id}/cancel", json={"reason": "no longer wanted"})
    again = await client.post(f"{JOBS}/{job_id}/cancel")

    assert answer.status_code == again.status_code == 200
    assert (answer.json()["status"], answer.json()["reason"]) == ("canceled", "no longer wanted")
    assert again.json() == answer.json()


async def test_a_job_that_has_ended_runs_again_with_changes(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    job_id = (await everfold.submit(sleeper(1))).job_id
    open_still = await client.post(f"{JOBS}/{job_id}/rerun")
    await everfold.cancel(job_id)

    answer = await client.post(f"{JOBS}/{job_id}/rerun", json={"changes": {"2.seed": 7}})

    assert open_still.status_code == 422
    assert answer.status_code == 201
    made = await everfold.get(answer.json()["job_id"])
    assert (made.rerun_of, made.status) == (job_id, "queued")


async def test_a_waiting_job_gets_another_priority(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    await everfold.submit(sleeper(1))
    job_id = (await everfold.submit(sleeper(1))).job_id

    answer = await client.post(f"{JOBS}/{job_id}/priority", json={"priority": "high"})
    wrong = await client.post(f"{JOBS}/{job_id}/priority", json={"priority": "highest"})

    told = {"job_id": job_id, "priority": "high", "before": "normal", "position": 0}
    assert answer.json() == told
    assert wrong.status_code == 422
    assert "high, normal, low" in wrong.json()["error"]["message"]


async def test_waiting_jobs_of_a_filter_get_another_priority_in_their_order(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    ids = [(await everfold.submit(sleeper(1), user="ada", batch="x")).job_id for _ in range(5)]
    other = (await everfold.submit(sleeper(1), user="ada")).job_id
    await everfold.cancel(ids[2])
    request = {"filter": {"batch": "x"}, "priority": "high"}

    dry = (await client.post(f"{JOBS}/priority", json=request)).json()
    before = [(await everfold.get(job_id)).priority for job_id in ids]
    done = (await client.post(f"{JOBS}/priority", json={**request, "dry_run": False})).json()
    again = (await client.post(f"{JOBS}/priority", json={**request, "dry_run": False})).json()
    wrong = await client.post(f"{JOBS}/priority", json={**request, "priority": "highest"})

    assert (dry["selected"], dry["outcomes"], set(before)) == (4, {}, {"normal"})
    assert done["outcomes"] == {"changed": 4}
    assert again["outcomes"] == {"unchanged": 4}
    jobs = [await everfold.get(job_id) for job_id in (ids[0], ids[1], ids[3], ids[4])]
    # Two may have been submitted in one millisecond.
    in_order = sorted(jobs, key=lambda job: (job.submitted_at_ms, job.job_id))
    waiting = [*(job.job_id for job in in_order), other]
    assert [await everfold.position(job_id) for job_id in waiting] == [0, 1, 2, 3, 4]
    assert wrong.status_code == 422


async def test_an_attempt_is_given_up(client: httpx.AsyncClient, stack: Stack) -> None:
    job_id = await stack.submit(30)
    none = await client.post(f"{JOBS}/{job_id}/give-up")
    await stack.runner(await stack.comfy())
    await stack.until(job_id, "running")

    answer = await client.post(f"{JOBS}/{job_id}/give-up")

    assert none.status_code == 422
    assert answer.status_code == 200
    await stack.until_event(job_id, "lost")


async def test_many_jobs_are_counted_before_they_are_canceled(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    ids = [(await everfold.submit(sleeper(1), user="ada")).job_id for _ in range(5)]
    other = (await everfold.submit(sleeper(1), user="bob")).job_id
    asked = {"filter": {"user": "ada"}, "limit": 3}

    dry = (await client.post(f"{JOBS}/cancel", json=asked)).json()
    statuses = [(await everfold.get(job_id)).status for job_id in ids]
    first = (await client.post(f"{JOBS}/cancel", json={**asked, "dry_run": False})).json()
    again = {**asked, "dry_run": False, "cursor": first["cursor"]}
    last = (await client.post(f"{JOBS}/cancel", json=again)).json()

    assert (dry["dry_run"], dry["selected"], dry["outcomes"]) == (True, 3, {})
    assert statuses == ["queued"] * 5
    assert (first["outcomes"], last["outcomes"]) == ({"canceled": 3}, {"canceled": 2})
    assert last["cursor"] is None
    assert {(await everfold.get(job_id)).status for job_id in ids} == {"canceled"}
    assert (await everfold.get(other)).status == "queued"


async def test_many_jobs_run_again_once(client: httpx.AsyncClient, everfold: Everfold) -> None:
    ids = [(await everfold.submit(sleeper(1))).job_id for _ in range(3)]
    for job_id in ids:
        await everfold.log.append(job_id, Expired(reason="stale"), epoch=UNLEASED)
        await everfold.get(job_id, 2)  # what this client has seen is listed
    asked = {"filter": {"statuses": ["expired"]}, "dry_run": False}

    done = (await client.post(f"{JOBS}/rerun", json=asked)).json()
    again = (await client.post(f"{JOBS}/rerun", json=asked)).json()

    assert sorted(done["job_ids"]) == sorted(ids)
    assert (done["outcomes"], again["outcomes"]) == ({"rerun": 3}, {"already rerun": 3})


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "no JSON"),
        (b"{", 400, "no JSON"),
        (b"[]", 422, "object"),
        (b"{}", 422, "filter"),
        (b'{"filter": {}, "dryrun": false}', 422, "dryrun"),
        (b'{"filter": {"stati": ["failed"]}}', 422, "stati"),
        (b'{"filter": {"statuses": ["gone"]}}', 422, "choose one of"),
        (b'{"filter": {"newer_than_ms": 1e300}}', 422, "newer_than_ms"),
        (b'{"filter": {}, "limit": 0}', 422, "limit"),
        (b'{"filter": {}, "limit": NaN}', 400, "no JSON"),
        (b'{"filter": {}, "cursor": "x"}', 422, "cursor"),
        (b"[" * 100_000, 400, "nested"),
    ],
)
async def test_a_wrong_selection_changes_nothing(
    client: httpx.AsyncClient, everfold: Everfold, body: bytes, status: int, told: str
) -> None:
    job_id = (await everfold.submit(sleeper(1))).job_id

    answer = await client.post(f"{JOBS}/cancel", content=body)

    assert answer.status_code == status
    assert told in answer.json()["error"]["message"]
    assert (await everfold.get(job_id)).status == "queued"
