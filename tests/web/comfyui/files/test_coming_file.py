"""A file is there for clients from the moment at which they are told of it."""

from __future__ import annotations

import httpx
import pytest

from everfold.streams.errors import JobUnknown
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually
from tests.web.comfyui.jobs.test_prompts import queued
from tests.web.site import Site

pytestmark = pytest.mark.anyio


def saves_early(seconds: float) -> dict[str, object]:
    """A graph whose first picture is saved before its sleeper begins to sleep."""
    graph = sleeper(seconds)
    early = {"images": ["1", 0], "filename_prefix": "sub/early"}
    return {"0": {"class_type": "SaveImage", "inputs": early}, **graph}


async def running(site: Site, client: httpx.AsyncClient, seconds: float) -> str:
    """Return a prompt whose first picture is saved, and that goes on for a while."""
    comfy = await site.stack.comfy()
    await site.stack.runner(comfy, assets=site.everfold.assets.url)
    prompt = await queued(client, saves_early(seconds))

    async def is_saved() -> bool:
        try:
            return "0" in (await site.everfold.get(prompt)).outputs
        except JobUnknown:
            return False

    await eventually(is_saved, 20)
    return prompt


async def test_a_picture_of_a_job_that_runs_comes_from_its_server(
    site: Site, client: httpx.AsyncClient
) -> None:
    prompt = await running(site, client, 6.0)
    named = {"filename": "early_00001_.png", "subfolder": f"{prompt}/sub", "type": "output"}

    early = await client.get("/view", params=named)
    status = (await site.everfold.get(prompt)).status
    other = await client.get("/view", params={**named, "filename": "early_00002_.png"})
    await site.everfold.wait(prompt, timeout_s=30)
    stored = await client.get("/view", params=named)

    assert (early.status_code, early.headers["content-type"], status) == (
        *(200, "image/png"),
        "running",
    )
    assert other.status_code == 404
    assert early.content == stored.content


async def test_one_that_the_server_does_not_give_is_waited_for(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object) -> None:
        return None

    monkeypatch.setattr("everfold.web.comfyui.server.connections.BackendConnections.ask", silent)
    prompt = await running(site, client, 2.0)
    named = {"filename": "early_00001_.png", "subfolder": f"{prompt}/sub", "type": "output"}

    assert (await client.get("/view", params=named)).status_code == 200
    assert (await site.everfold.get(prompt)).status == "succeeded"
