"""Nobody sees, stops, hides or takes what belongs to somebody else."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from everfold import Everfold
from everfold.streams.events.event import CancelRequested
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually
from tests.web.comfyui.files.test_files import graph_of, png, uploaded, viewed
from tests.web.comfyui.jobs.test_prompts import history_of, queued
from tests.web.comfyui.users import client_of_user, serving_users

pytestmark = pytest.mark.anyio


async def test_what_one_user_does_another_one_neither_sees_nor_changes(
    everfold: Everfold, stack: Stack
) -> None:
    async with (
        serving_users(everfold, stack) as site,
        client_of_user(site, "ann") as ann,
        client_of_user(site, "bob") as bob,
    ):
        await stack.runner(await stack.comfy(), slots=4, assets=everfold.assets.url)
        await uploaded(ann, png((255, 0, 0)))
        done = await queued(ann, graph_of("cat.png"))
        entry = await history_of(ann, done)
        [made] = entry["outputs"]["2"]["images"]
        running = await queued(ann, sleeper(60))
        await stack.until_event(running, "started")
        waiting = (await everfold.submit(sleeper(1), user="ann", queue="nobody")).job_id

        for path in ("/history", "/queue", "/api/jobs", "/api/history_v2"):
            assert done not in (await bob.get(path)).text
            assert running not in (await bob.get(path)).text
            assert waiting not in (await bob.get(path)).text
        for prompt_id in (done, running, waiting):
            assert (await bob.get(f"/history/{prompt_id}")).json() == {}
            assert (await bob.get(f"/api/history_v2/{prompt_id}")).json() == {}
            assert (await bob.get(f"/api/jobs/{prompt_id}")).status_code == 404
            cancel = await bob.post(f"/api/jobs/{prompt_id}/cancel")
            assert cancel.json() == {"cancelled": False}
        assert (await viewed(bob, made)).status_code == 404
        assert (await bob.get("/view?filename=cat.png&type=input")).status_code == 404

        async def info_of_bob() -> object:
            return (await bob.get("/object_info/LoadImage")).json()

        info: Any = await eventually(info_of_bob, 20)
        assert info["LoadImage"]["input"]["required"]["image"][0] == []
        assert (await bob.get("/prompt")).json()["exec_info"]["queue_remaining"] == 0

        await bob.post("/interrupt")
        await bob.post("/interrupt", json={"prompt_id": running})
        await bob.post("/queue", json={"clear": True, "delete": [waiting]})
        await bob.post("/history", json={"clear": True, "delete": [done]})
        await bob.post("/api/jobs/cancel", json={"job_ids": [running, waiting]})

        assert (await everfold.get(running)).status == "running"
        assert (await everfold.get(waiting)).status == "queued"
        assert list((await ann.get("/history")).json()) == [done]
        assert (await viewed(ann, made)).status_code == 200
        assert (await ann.get("/prompt")).json()["exec_info"]["queue_remaining"] == 2

        assert (await ann.post("/queue", json={"clear": True})).status_code == 200
        asked = [record.event for record in await everfold.events(waiting)]
        [cancel_asked] = [event for event in asked if isinstance(event, CancelRequested)]
        assert cancel_asked.actor.startswith("key-")
        assert (await ann.post("/interrupt")).status_code == 200
        await eventually(lambda: stack.until(running, "canceled"), 30)


async def test_two_users_may_choose_one_prompt_id(everfold: Everfold, stack: Stack) -> None:
    chosen = str(uuid.uuid4())
    async with (
        serving_users(everfold, stack) as site,
        client_of_user(site, "ann") as ann,
        client_of_user(site, "bob") as bob,
    ):
        for client, graph in ((ann, sleeper(1)), (bob, sleeper(2))):
            assert await queued(client, graph, prompt_id=chosen) == chosen
            [item] = (await client.get("/queue")).json()["queue_pending"]
            assert item[1:3] == [chosen, graph]
        await ann.post("/queue", json={"delete": [chosen]})

        assert (await ann.get("/queue")).json()["queue_pending"] == []
        assert len((await bob.get("/queue")).json()["queue_pending"]) == 1
