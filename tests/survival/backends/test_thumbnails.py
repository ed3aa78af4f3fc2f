"""Pictures that are stored have a thumbnail; where none can be made, the job ends as without."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from everfold.streams.events.event import Policy
from tests.support.programs.stack import Stack
from tests.support.wait import eventually
from tests.survival.backends.stored_outputs import (
    check_stored,
    references,
    saver,
    store_of,
    submitted,
)

pytestmark = pytest.mark.anyio


async def test_each_stored_picture_names_its_thumbnail(stack: Stack, tmp_path: Path) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(tmp_path / "assets"), thumbnails=True)
    graph = saver(("2", "a"), ("3", "b"), kib=2000)
    job = await stack.until(await submitted(stack, graph), "succeeded")
    store = store_of(stack, tmp_path / "assets")

    for one in await check_stored(store, job, comfy):
        thumbnail = one["thumbnail"]
        assert isinstance(thumbnail, dict)
        asset = await store.get(thumbnail["asset"])
        assert (asset.hash, asset.size_bytes) == (thumbnail["hash"], thumbnail["size_bytes"])
        assert (asset.media_type, asset.width, asset.height) == ("image/webp", 123, 320)
        assert (thumbnail["width"], thumbnail["height"]) == (123, 320)
        assert (asset.owner, asset.job_id) == ("ada", job.job_id)
        assert asset.name == f"{one['name']}.thumbnail.webp"


async def test_a_video_and_a_small_picture_have_none(stack: Stack, tmp_path: Path) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(tmp_path / "assets"), thumbnails=True)
    graph = saver(("2", "a"))
    graph["2"] = {"class_type": "JTSaveNoise", "inputs": {**_inputs(graph["2"]), "kind": "mp4"}}
    small = {"images": ["1", 0], "filename_prefix": "small"}
    graph["3"] = {"class_type": "SaveImage", "inputs": small}
    job = await stack.until(await submitted(stack, graph), "succeeded")

    assert len(found := list(references(job.outputs))) == 2
    assert all("asset" in one and "thumbnail" not in one for one in found)


async def test_a_runner_that_is_killed_meanwhile_leaves_the_job_whole(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    place = str(tmp_path / "assets")
    first = await stack.runner(comfy, assets=place, thumbnails=True)
    names = [(str(node), "a") for node in range(2, 12)]
    policy = Policy(outputs="require")
    job_id = await submitted(stack, saver(*names, kib=2000), policy)
    store = store_of(stack, tmp_path / "assets")

    async def begun() -> bool:
        return bool(await store.used_bytes("ada"))

    await eventually(begun, 30)
    first.send(signal.SIGKILL)
    await stack.runner(comfy, assets=place, thumbnails=True)
    job = await stack.until(job_id, "succeeded")
    found = await check_stored(store, job, comfy)
    assert len(found) == 10
    assert all("thumbnail" in one for one in found)


def _inputs(node: object) -> dict[str, object]:
    assert isinstance(node, dict)
    inputs: dict[str, object] = node["inputs"]
    return inputs
