"""Output files that cannot be stored: marked, waited for, made again, or the end of their job."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from everfold.streams.errors import QuotaFull
from everfold.streams.events.event import Policy
from everfold.streams.queues.limits import Limit, set_limit
from tests.support.programs.stack import Stack
from tests.survival.backends.stored_outputs import (
    check_stored,
    references,
    saver,
    store_of,
    submitted,
)

pytestmark = pytest.mark.anyio

REQUIRE = Policy(outputs="require", retries=5, retry_backoff_s=0.5)


def sender(count: int = 3) -> dict[str, object]:
    """A graph whose pictures are sent over the websocket and written nowhere."""
    color = int.from_bytes(os.urandom(3), "big")
    image = {"width": 40, "height": 30, "batch_size": count, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}},
    }


async def test_a_job_that_must_be_stored_waits_for_a_runner_with_a_store(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    poor = await stack.runner(comfy)
    job_id = await submitted(stack, saver(("2", "a")), REQUIRE)
    await stack.until_event(job_id, "released")
    assert "no store of assets" in await stack.event_text(job_id)
    assert await comfy.executions() == []
    poor.kill()
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    job = await stack.until(job_id, "succeeded")
    await check_stored(store_of(stack, tmp_path / "assets"), job, comfy)


async def test_a_file_that_is_gone_is_marked_or_made_again_as_the_policy_wants(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    await comfy.fault("refuse_view", count=1, status=404)
    job = await stack.until(await submitted(stack, saver(("2", "a"))), "succeeded")
    [one] = references(job.outputs)
    assert (one["stored"], one["why"]) == (False, "gone")
    await comfy.fault("refuse_view", count=1, status=404)
    # The cache would answer the same graph with the same file.
    job = await stack.until(await submitted(stack, saver(("2", "a")), REQUIRE), "succeeded")
    assert (job.attempt, job.retried) == (2, 1)
    assert '"code":"outputs_lost"' in await stack.event_text(job.job_id)
    assert [one["asset"] for one in references(job.outputs)]


async def test_required_files_that_are_gone_fail_a_job_without_a_retry(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    await comfy.fault("refuse_view", count=1, status=404)
    policy = Policy(outputs="require", retries=0)
    job = await stack.until(await submitted(stack, saver(("2", "a"), ("3", "b")), policy), "failed")
    assert job.error is not None
    assert (job.error.code, job.error.retryable) == ("outputs_lost", True)
    assert sorted("asset" in one for one in references(job.outputs)) == [False, True]


async def test_required_files_wait_for_a_store_that_cannot_be_used_now(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    folder = tmp_path / "assets"
    folder.write_bytes(b"a file where the folder is to be")
    await stack.runner(comfy, assets=str(folder), collect_within_s=0.2)
    job_id = await submitted(stack, saver(("2", "a")), REQUIRE)
    await stack.until_event(job_id, "released")
    assert "cannot be stored now (store_full)" in await stack.event_text(job_id)
    marked = await stack.until(await submitted(stack, saver(("2", "b"))), "succeeded")
    assert [one["why"] for one in references(marked.outputs)] == ["store_full"]
    folder.unlink()
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, job.retried, job.losses) == (1, 0, 0)
    await check_stored(store_of(stack, folder), job, comfy)


async def test_a_full_quota_is_said_or_fails_the_job_for_good(stack: Stack, tmp_path: Path) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    await fill_quota(stack, tmp_path / "assets")
    job = await stack.until(await submitted(stack, saver(("2", "a"))), "succeeded")
    assert [one["why"] for one in references(job.outputs)] == ["quota"]
    job = await stack.until(await submitted(stack, saver(("2", "a")), REQUIRE), "failed")
    assert job.error is not None
    assert (job.error.code, job.error.retryable, job.attempt) == ("outputs_lost", False, 1)


async def fill_quota(stack: Stack, folder: Path) -> None:
    await set_limit(stack.log, Limit("assets", "user", "ada", 1024))
    with pytest.raises(QuotaFull):
        await store_of(stack, folder).put(b"x" * 2000, name="x", owner="ada")


async def test_pictures_that_come_over_the_websocket_are_stored(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    job = await stack.until(await submitted(stack, sender(), REQUIRE), "succeeded")
    found = list(references(job.outputs))
    assert [one["filename"] for one in found] == ["2_1.png", "2_2.png", "2_3.png"]
    assert {(one["type"], one["width"], one["height"]) for one in found} == {("websocket", 40, 30)}
    assert [one["hash"] for one in found] == [row["hash"] for row in await comfy.files()]
    store = store_of(stack, tmp_path / "assets")
    for one in found:
        assert (await store.get(str(one["asset"]))).hash == one["hash"]


async def test_pictures_that_nobody_heard_are_marked_or_made_again(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    await comfy.fault("mute_sockets")
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    job = await stack.until(await submitted(stack, sender()), "succeeded")
    assert [one["why"] for one in references(job.outputs)] == ["missed"]
    job_id = await submitted(stack, sender(), REQUIRE)
    await stack.until_event(job_id, "retried")
    await comfy.fault("unmute_sockets")
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, job.retried) == (2, 1)
    assert all(one["asset"] for one in references(job.outputs))
