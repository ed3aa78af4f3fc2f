"""What the gateway says of the servers behind it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.programs.stack import Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def object_info(client: httpx.AsyncClient) -> httpx.Response:
    async def is_known() -> bool:
        return bool((await client.get("/object_info")).json())

    await eventually(is_known, 20)
    return await client.get("/object_info")


async def test_object_info_is_that_of_the_server_with_the_callers_uploads(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    async with httpx.AsyncClient() as direct:
        there: dict[str, Any] = (await direct.get(f"{comfy.url}/object_info")).json()

    answer = await object_info(client)
    assert answer.json().keys() == there.keys()
    differ = [name for name, value in answer.json().items() if value != there[name]]
    assert all(name.startswith("Load") for name in differ)
    etag = answer.headers["etag"]
    same = await client.get("/api/object_info", headers={"If-None-Match": etag})
    assert (same.status_code, same.content) == (304, b"")

    await client.post("/upload/image", files={"image": ("cat.png", b"x")})
    changed = await client.get("/object_info", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    one = (await client.get("/object_info/LoadImage")).json()
    assert one["LoadImage"]["input"]["required"]["image"][0] == ["cat.png"]
    assert one["LoadImage"] == changed.json()["LoadImage"]
    for unknown in ("/object_info/Nothing", "/object_info/Any%2FSwitch", "/api/object_info/A%2FB"):
        assert (await client.get(unknown)).json() == {}, "a class may have a slash in its name"
    assert (await client.get("/object_info/KSampler")).json() == {"KSampler": there["KSampler"]}

    folders = (await client.get("/models")).json()
    assert "checkpoints" in folders
    async with httpx.AsyncClient() as direct:
        for folder in folders:
            models = (await direct.get(f"{comfy.url}/models/{folder}")).json()
            assert (await client.get(f"/models/{folder}")).json() == models
            shown = (await client.get(f"/api/experiment/models/{folder}")).json()
            assert shown == [{"name": name, "pathIndex": 0} for name in models]
    shown = (await client.get("/api/experiment/models")).json()
    assert shown == [{"name": folder, "folders": []} for folder in folders]
    assert (await client.get("/models/nothing")).status_code == 404
    assert (await client.get("/experiment/models/nothing")).status_code == 404


async def test_a_farm_of_which_nothing_is_known_has_nothing(client: httpx.AsyncClient) -> None:
    assert (await client.get("/object_info")).json() == {}
    assert (await client.get("/models")).json() == []
    assert (await client.get("/embeddings")).json() == []
    assert (await client.get("/system_stats")).json()["devices"] == []


async def test_system_stats_tell_no_address(client: httpx.AsyncClient, stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    await object_info(client)

    answer = await client.get("/system_stats")
    assert answer.json()["system"]["comfyui_version"]
    assert [device["name"] for device in answer.json()["devices"]] == ["server 1"]
    assert comfy.url not in answer.text
    assert (await client.post("/free", json={"unload_models": True})).status_code == 200
