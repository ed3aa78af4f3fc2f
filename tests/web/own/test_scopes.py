"""Who may do what by Everfold's own routes, and under which name it is recorded."""

from __future__ import annotations

import httpx
import pytest

from everfold import Everfold
from everfold.web import add_key
from everfold.web.caller import Role
from everfold.web.own.operations import OWN
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

JOBS = "/everfold/v1/jobs"


async def signed(
    client: httpx.AsyncClient, everfold: Everfold, role: Role = "user", user: str = ""
) -> tuple[str, dict[str, str]]:
    """Make a key, and return its id and the header that shows it, once the gateway knows it."""
    key_id, key = await add_key(everfold.log, "one", role=role, user=user)

    async def is_asked() -> bool:
        return (await client.get(JOBS)).status_code == 401

    await eventually(is_asked, 10)
    return key_id, {"Authorization": f"Bearer {key.reveal()}"}


async def test_a_user_sees_and_stops_its_own_jobs_only(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    _, headers = await signed(client, everfold, user="ada")
    own = (await everfold.submit(sleeper(1), user="ada")).job_id
    other = (await everfold.submit(sleeper(1), user="bob")).job_id

    async def get(path: str) -> httpx.Response:
        return await client.get(path, headers=headers)

    listed = (await get(JOBS)).json()["jobs"]
    asked_for_others = (await get(f"{JOBS}?user=bob")).json()["jobs"]
    reads = [
        (await get(f"{JOBS}/{other}{rest}")).status_code
        for rest in ("", "/at?seq=1", "/why", "/files", "/events", "/events/stream")
    ]
    every = {"filter": {}, "dry_run": False}
    stopped = (await client.post(f"{JOBS}/cancel", json=every, headers=headers)).json()

    assert [one["job_id"] for one in listed] == [own]
    assert asked_for_others == []
    assert reads == [404] * 6
    assert stopped["job_ids"] == [own]
    assert (await everfold.get(other)).status == "queued"
    for path in ("backends", "runners", "acts", "subscriptions", "events/stream", "capabilities"):
        assert (await get(f"/everfold/v1/{path}")).status_code == 403


async def test_a_user_sees_no_limits_of_other_users(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    for name in ("ada", "bob", "*"):
        await everfold.set_limit("running", "user", name, 3)
    await everfold.set_limit("running", "queue", "default", 3)
    _, headers = await signed(client, everfold, user="ada")

    found = (await client.get("/everfold/v1/limits", headers=headers)).json()["limits"]
    assert sorted(one["name"] for one in found) == ["*", "ada", "default"]


async def test_a_reader_changes_nothing(client: httpx.AsyncClient, everfold: Everfold) -> None:
    _, headers = await signed(client, everfold, "reader")

    for row in (one for one in OWN if one.method != "GET"):
        path = row.path.replace("{job_id}", "a").replace("{queue}", "default")
        path = path.replace("{runner}", "a").replace("{subscription}", "a")
        answer = await client.request(row.method, path, headers=headers)
        assert answer.status_code == 403, row.name
        told = f"a key of role reader may not do this: it takes {row.role}"
        assert answer.json()["error"]["message"] == told


async def test_an_act_stands_under_the_key_that_was_used(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    key_id, headers = await signed(client, everfold, "operator")
    await everfold.submit(sleeper(1))

    await client.post("/everfold/v1/queues/default/pause", headers=headers)

    acts = (await client.get("/everfold/v1/acts", headers=headers)).json()["acts"]
    assert [(one["verb"], one["actor"]) for one in acts if one["verb"] == "pause_queue"] == [
        ("pause_queue", f"key-{key_id}")
    ]


async def test_without_a_key_only_probes_and_the_document_answer(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    await signed(client, everfold, user="ada")
    public = {row.path for row in OWN if row.is_public}

    assert public == {"/livez", "/readyz", "/openapi.json"}
    assert {(await client.get(path)).status_code for path in public} == {200}
    for path in (JOBS, "/metrics", "/scale/default", "/everfold/v1/queues"):
        assert (await client.get(path)).status_code == 401


async def test_what_clients_do_is_recorded_under_their_key(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    key_id, headers = await signed(client, everfold, user="ada")
    body = {"prompt": sleeper(1)}

    job_id = (await client.post("/prompt", json=body, headers=headers)).json()["prompt_id"]
    await client.post(f"/api/v2/jobs/{job_id}/cancel", headers=headers)

    events = [record.event for record in await everfold.events(job_id)]
    assert [getattr(event, "actor", "") for event in events] == [f"key-{key_id}"] * 3
