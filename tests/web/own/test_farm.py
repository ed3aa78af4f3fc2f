"""Queues, servers, runners, readers, and what operators did, by Everfold's own routes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from everfold import Everfold
from everfold.projector.subscribing import admin
from everfold.projector.subscribing.subscription import Subscription
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

OWN = "/everfold/v1"


async def test_a_queue_is_paused_and_goes_on(client: httpx.AsyncClient, everfold: Everfold) -> None:
    await everfold.submit(sleeper(1))

    paused = await client.post(f"{OWN}/queues/default/pause", json={"reason": "cleaning"})
    queues = (await client.get(f"{OWN}/queues")).json()["queues"]
    resumed = await client.post(f"{OWN}/queues/default/resume")
    unknown = await client.post(f"{OWN}/queues/defualt/resume")

    assert paused.json() == {"queue": "default", "is_paused": True, "was_paused": False}
    assert [(one["waiting"], one["pause_reason"]) for one in queues] == [(1, "cleaning")]
    assert resumed.json() == {"queue": "default", "is_paused": False, "was_paused": True}
    assert unknown.status_code == 404
    assert "did you mean default?" in unknown.json()["error"]["message"]


async def test_servers_are_compared(client: httpx.AsyncClient, stack: Stack) -> None:
    full = await stack.comfy("--models", "checkpoints=a.safetensors,b.safetensors")
    other = await stack.comfy("--models", "checkpoints=b.safetensors", "--without", "ImageBlur")
    await stack.runner(full, other)

    async def told() -> dict[str, Any]:
        return dict((await client.get(f"{OWN}/capabilities")).json())

    async def are_known() -> bool:
        return [one["is_known"] for one in (await told())["servers"]] == [True, True]

    await eventually(are_known, 20)
    found = await told()
    places = [one["address"] for one in found["servers"]]

    assert set(places) == {full.url, other.url}
    only = (places.index(full.url),)
    assert [(one["kind"], one["name"], tuple(one["has"])) for one in found["differences"]] == [
        ("checkpoints", "a.safetensors", only),
        ("node class", "ImageBlur", only),
    ]
    assert (found["common_models"] >= 1, found["differences_besides"]) == (True, 0)


async def test_limits_are_set_listed_and_removed(client: httpx.AsyncClient) -> None:
    limit = {"what": "running", "scope": "user", "name": "*", "number": 2.0}

    made = await client.put(f"{OWN}/limits", json=limit)
    wrong = await client.put(f"{OWN}/limits", json={**limit, "number": -1})
    listed = (await client.get(f"{OWN}/limits")).json()["limits"]
    query = {"what": "running", "scope": "user", "name": "*"}
    gone = (await client.delete(f"{OWN}/limits", params=query)).json()
    again = (await client.delete(f"{OWN}/limits", params=query)).json()

    assert made.json() == limit
    assert wrong.status_code == 422
    assert listed == [limit]
    assert (gone["was_there"], again["was_there"]) == (True, False)


async def test_an_autoscaler_is_told_how_much_work_there_is(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    for _ in range(3):
        await everfold.submit(sleeper(1))

    told = (await client.get("/scale/default")).json()
    unknown = await client.get("/scale/nobody")

    assert (told["waiting"], told["running"], told["jobs"], told["runners"]) == (3, 0, 3, 0)
    assert told["oldest_s"] >= 0
    assert told["backlog_seconds"] is None
    assert unknown.status_code == 404


async def test_a_server_is_taken_out_of_service_and_returned(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)

    async def seen() -> bool:
        found = (await client.get(f"{OWN}/backends")).json()["backends"]
        return [one["name"] for one in found] == [comfy.url]

    await eventually(seen, 20)
    body = {"backend": comfy.url}
    retired = (await client.post(f"{OWN}/backends/retire", json=body)).json()
    marked = (await client.get(f"{OWN}/backends")).json()["backends"][0]
    returned = (await client.post(f"{OWN}/backends/return", json=body)).json()
    drained = (await client.post(f"{OWN}/backends/drain", json=body)).json()
    unknown = await client.post(f"{OWN}/backends/drain", json={"backend": "http://nowhere"})

    assert retired["is_retired"]
    assert marked["retired_by"]
    assert returned["was_out_of_service"]
    assert drained["is_drained"]
    assert unknown.status_code == 404
    acts = (await client.get(f"{OWN}/acts?limit=3")).json()["acts"]
    assert [one["verb"] for one in acts] == ["retire_backend", "return_backend", "drain_backend"]


async def test_a_runner_is_asked_to_drain(client: httpx.AsyncClient, stack: Stack) -> None:
    await stack.runner(await stack.comfy())
    names = [one["name"] for one in (await client.get(f"{OWN}/runners")).json()["runners"]]

    asked = await client.post(f"{OWN}/runners/{names[0]}/drain")

    assert asked.status_code == 202

    async def gone() -> bool:
        return not (await client.get(f"{OWN}/runners")).json()["runners"]

    await eventually(gone, 20)


async def test_held_jobs_of_a_subscription_are_listed_retried_and_skipped(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    await admin.create(everfold.log, Subscription("mail"))
    subscriptions = f"{OWN}/subscriptions"

    listed = (await client.get(subscriptions)).json()["subscriptions"]
    detail = (await client.get(f"{subscriptions}/mail")).json()
    held = (await client.get(f"{subscriptions}/mail/held?parked=true")).json()
    retried = (await client.post(f"{subscriptions}/mail/retry")).json()
    skipped = await client.post(f"{subscriptions}/mail/skip", json={"job_id": "nobody"})
    unknown = await client.get(f"{subscriptions}/mial")

    assert [one["subscription"] for one in listed] == ["mail"]
    assert len(detail["partitions"]) == everfold.log.keys.partitions
    assert held == {"jobs": [], "held": 0}
    assert retried == {"subscription": "mail", "jobs": 0}
    assert skipped.status_code == 404
    assert "does not hold job 'nobody'" in skipped.json()["error"]["message"]
    assert "there are: mail" in unknown.json()["error"]["message"]
