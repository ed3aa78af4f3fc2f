"""Output files are stored before their job ends, whoever dies meanwhile."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest

from everfold.streams.events.event import CancelRequested, Policy
from everfold.streams.redis.redis_errors import command
from tests.support.programs.stack import Stack
from tests.support.wait import eventually
from tests.survival.backends.stored_outputs import (
    check_stored,
    has_part_of_a_file,
    references,
    saver,
    store_of,
    submitted,
)

pytestmark = pytest.mark.anyio


async def test_each_file_is_stored_and_its_reference_says_which_asset_it_is(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    job_id = await submitted(stack, saver(("2", "a"), ("3", "x/a"), ("4", "b")))
    job = await stack.until(job_id, "succeeded")
    store = store_of(stack, tmp_path / "assets")
    found = await check_stored(store, job, comfy)
    names = [f"{job_id}_a_00001_.png", f"{job_id}_a_00001__2.png", f"{job_id}_b_00001_.png"]
    assert sorted(str(one["name"]) for one in found) == sorted(names)
    assert {(one["media_type"], one["width"]) for one in found} == {("image/png", 512)}
    assert {asset.owner for asset in [await store.get(str(one["asset"])) for one in found]} == {
        "ada"
    }


async def test_the_slot_is_free_while_files_are_stored(stack: Stack, tmp_path: Path) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(tmp_path / "assets"), slots=1)
    await comfy.fault("delay_view", seconds=3)
    first = await submitted(stack, saver(("2", "a")))
    await stack.until_event(first, "queued")
    second = await stack.submit(seconds=0.1, policy=Policy(outputs="keep"))
    await stack.until(second, "succeeded")
    assert not (await stack.job(first)).is_terminal
    await stack.until(first, "succeeded")


async def test_a_cancel_ends_a_job_whose_files_come_for_ever(stack: Stack, tmp_path: Path) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(tmp_path / "assets"), collect_within_s=1.0)
    await comfy.fault("delay_view", seconds=25)
    job_id = await submitted(stack, saver(("2", "a"), kib=4096))
    await _is_collecting(stack, job_id, tmp_path / "assets")
    await stack.log.append(job_id, CancelRequested(), epoch=0)
    await command(stack.log.redis, "PUBLISH", stack.log.keys.wake(), f"cancel {job_id}")
    job = await stack.until(job_id, "succeeded", within_s=15)
    (file,) = references(job.outputs)
    assert (file["stored"], file["why"]) == (False, "unreachable")


async def test_without_a_store_or_with_keep_nothing_is_changed(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    plain = await stack.until(await submitted(stack, saver(("2", "a"))), "succeeded")
    other = await stack.comfy()
    await stack.runner(other, assets=str(tmp_path / "assets"))
    keep = Policy(outputs="keep")
    kept = await stack.until(await submitted(stack, saver(("2", "a")), keep), "succeeded")
    for job in (plain, kept):
        [one] = references(job.outputs)
        assert one.keys() == {"filename", "subfolder", "type"}
    folder = tmp_path / "assets"
    # A look whether the store can be written may be under way.
    await eventually(lambda: not any(path.is_file() for path in folder.rglob("*")), 20)


async def test_previews_are_stored_where_the_policy_says_so(stack: Stack, tmp_path: Path) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    for policy in (Policy(), Policy(previews="collect")):
        graph = saver(("2", "a"), color=len(policy.previews))
        graph["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
        job = await stack.until(await submitted(stack, graph, policy), "succeeded")
        [preview] = references({"3": job.outputs["3"]})
        if policy.previews == "skip":
            assert (preview["stored"], preview["why"]) == (False, "skipped")
        else:
            await check_stored(store_of(stack, tmp_path / "assets"), job, comfy)


@pytest.mark.parametrize(
    ("point", "how"),
    [
        ("before_file", "SIGKILL"),
        ("after_file", "SIGKILL"),
        ("before_end", "SIGKILL"),
        ("before_file", "SIGSTOP"),
    ],
)
async def test_a_runner_that_dies_or_freezes_while_it_stores_is_followed_by_another(
    stack: Stack, tmp_path: Path, point: str, how: str
) -> None:
    comfy = await stack.comfy()
    folder = str(tmp_path / "assets")
    first = await stack.runner(comfy, assets=folder, at=point, signal=how)
    job_id = await submitted(stack, saver(("2", "a"), ("3", "b")))
    await first.line(f"reached {point}", within_s=20)
    second = await stack.runner(comfy, assets=folder)
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, job.recovered) == (1, 1)
    assert await comfy.executions() == [job.prompt_id]
    await check_stored(store_of(stack, tmp_path / "assets"), job, comfy)
    if how == "SIGSTOP":
        first.send(signal.SIGCONT)
        second.kill()
        await stack.until(await submitted(stack, saver(("2", "a"))), "succeeded")
        assert (await stack.event_types(job_id)).count("succeeded") == 1


async def test_a_runner_that_is_drained_while_it_stores_releases_the_job(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    folder = str(tmp_path / "assets")
    await comfy.fault("delay_view", seconds=60)
    first = await stack.runner(comfy, assets=folder, drain_s=0.2)
    job_id = await submitted(stack, saver(("2", "a"), kib=4096))
    await _is_collecting(stack, job_id, tmp_path / "assets")
    first.send(signal.SIGTERM)
    assert await first.end(10) == 0
    await comfy.fault("clear")
    await stack.runner(comfy, assets=folder)
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, job.recovered, job.released) == (1, 0, 1)
    await check_stored(store_of(stack, tmp_path / "assets"), job, comfy)


async def _is_collecting(stack: Stack, job_id: str, folder: Path) -> None:
    """Wait until some of a file has come."""
    await eventually(lambda: has_part_of_a_file(folder), 20)
    assert not (await stack.job(job_id)).is_terminal


async def test_a_cancel_that_comes_while_files_are_stored_is_too_late(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    await comfy.fault("delay_view", seconds=2)
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    job_id = await submitted(stack, saver(("2", "a"), kib=4096))
    await _is_collecting(stack, job_id, tmp_path / "assets")
    await stack.log.append(job_id, CancelRequested(), epoch=0)
    await command(stack.log.redis, "PUBLISH", stack.log.keys.wake(), f"cancel {job_id}")
    job = await stack.until(job_id, "succeeded")
    await check_stored(store_of(stack, tmp_path / "assets"), job, comfy)


async def test_a_store_that_takes_nothing_is_waited_for_once_and_not_by_every_job(
    stack: Stack, tmp_path: Path
) -> None:
    place = tmp_path / "assets"
    place.write_text("no folder")
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(place), collect_within_s=6.0, slots=1)
    first = await submitted(stack, saver(("2", "a")))
    await stack.until(first, "succeeded")
    began_s = anyio.current_time()
    later = [await submitted(stack, saver(("2", "a"))) for _ in range(12)]
    for job_id in later:
        job = await stack.until(job_id, "succeeded")
        assert [one["why"] for one in references(job.outputs)] == ["store_full"]
    assert anyio.current_time() - began_s < 36  # each by itself would wait for 6 s
    place.unlink()
    job = await stack.until(await submitted(stack, saver(("2", "a"))), "succeeded")
    await check_stored(store_of(stack, place), job, comfy)


async def test_what_a_failed_attempt_has_saved_is_stored_too(stack: Stack, tmp_path: Path) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    graph = saver(("2", "a"))
    raising = {"image": ["1", 0], "message": "boom", "seconds": 0.0}
    graph["8"] = {"class_type": "JTRaise", "inputs": raising}
    graph["9"] = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
    job = await stack.until(await submitted(stack, graph), "failed")
    assert job.error is not None
    assert job.error.code == "execution_error"
    await check_stored(store_of(stack, tmp_path / "assets"), job, comfy)


@pytest.mark.parametrize("fault", ["break_view", "refuse_view"])
async def test_a_download_that_does_not_come_whole_is_tried_again(
    stack: Stack, tmp_path: Path, fault: str
) -> None:
    comfy = await stack.comfy()
    await comfy.fault(fault, count=3)
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    job = await stack.until(await submitted(stack, saver(("2", "a"), ("3", "b"))), "succeeded")
    await check_stored(store_of(stack, tmp_path / "assets"), job, comfy)


async def test_files_of_a_server_that_dies_and_comes_back_are_stored(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    await comfy.fault("delay_view", seconds=60)
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    job_id = await submitted(stack, saver(("2", "a"), kib=4096))
    await _is_collecting(stack, job_id, tmp_path / "assets")
    comfy.kill()
    await anyio.sleep(0.3)
    assert not (await stack.job(job_id)).is_terminal
    await comfy.up()
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, job.losses) == (1, 0)
    await check_stored(store_of(stack, tmp_path / "assets"), job, comfy)


async def test_a_file_that_another_prompt_wrote_after_a_restart_is_not_the_job_s(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    await comfy.fault("delay_view", seconds=60)
    await stack.runner(comfy, assets=str(tmp_path / "assets"))
    job_id = await submitted(stack, saver(("2", "a"), ("3", "b"), kib=4096))
    await _is_collecting(stack, job_id, tmp_path / "assets")
    comfy.kill()
    # Its output folder was emptied, and a name in it was given again.
    (other,) = (tmp_path / "comfy1" / "output").glob("a_*.png")
    await anyio.sleep(2)
    other.write_bytes(b"of another prompt")
    await comfy.up()
    job = await stack.until(job_id, "succeeded")
    found = {str(one["filename"])[0]: one for one in references(job.outputs)}
    assert (found["a"]["stored"], found["a"]["why"]) == (False, "gone")
    assert found["b"]["asset"]


async def test_files_of_a_server_that_is_gone_are_marked_and_the_job_has_succeeded(
    stack: Stack, tmp_path: Path
) -> None:
    comfy = await stack.comfy()
    await comfy.fault("delay_view", seconds=60)
    await stack.runner(comfy, assets=str(tmp_path / "assets"), collect_within_s=1.0)
    job_id = await submitted(stack, saver(("2", "a"), kib=4096))
    await _is_collecting(stack, job_id, tmp_path / "assets")
    comfy.kill()
    job = await stack.until(job_id, "succeeded")
    [one] = references(job.outputs)
    assert (one["stored"], one["why"]) == (False, "unreachable")
    assert "asset" not in one


async def test_another_server_at_the_address_gives_no_files(stack: Stack, tmp_path: Path) -> None:
    comfy, other = await stack.comfy(), await stack.comfy()
    await comfy.fault("delay_view", seconds=60)
    await stack.runner(comfy, assets=str(tmp_path / "assets"), collect_within_s=4.0)
    job_id = await submitted(stack, saver(("2", "a"), kib=4096))
    await _is_collecting(stack, job_id, tmp_path / "assets")
    comfy.kill()
    other.kill()
    # It has a file of the same name.
    saved = next((tmp_path / "comfy1" / "output").glob("a_*.png"))
    (tmp_path / "comfy2" / "output").mkdir(exist_ok=True)
    (tmp_path / "comfy2" / "output" / saved.name).write_bytes(b"of somebody else")
    other.url = comfy.url
    await other.up()
    job = await stack.until(job_id, "succeeded")
    [one] = references(job.outputs)
    assert (one["stored"], one["why"]) == (False, "unreachable")


async def test_a_server_that_is_away_holds_up_no_other_server_s_jobs(
    stack: Stack, tmp_path: Path
) -> None:
    away, comfy = await stack.comfy(), await stack.comfy()
    folder = str(tmp_path / "assets")
    runner = await stack.runner(away, comfy, assets=folder, slots=8)
    await away.fault("delay_view", seconds=60)
    await comfy.fault("stall", seconds=600)
    graphs = [saver(("2", "a"), kib=3000) for _ in range(16)]
    jobs = [await submitted(stack, graph) for graph in graphs]
    for job_id in jobs:
        await stack.until_event(job_id, "queued")
    await eventually(lambda: len(list(tmp_path.rglob("*.part"))) == 3, 20)
    away.freeze()
    await comfy.fault("clear")
    there = [job_id for job_id in jobs if (await stack.job(job_id)).backend == comfy.url]
    assert there
    for job_id in there:
        await stack.until(job_id, "succeeded", within_s=20)
    away.thaw()
    assert runner.exit_code is None


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_after_kills_at_any_point_every_succeeded_job_s_bytes_are_those_that_were_written(
    stack: Stack, tmp_path: Path, full_length: bool
) -> None:
    servers = [await stack.comfy(), await stack.comfy()]
    folder = str(tmp_path / "assets")
    points = ["before_file", "after_file", "before_end", "after_post", "before_file", "after_file"]
    runners = [await stack.runner(*servers, assets=folder, at=points[n % 6]) for n in range(3)]
    policy = Policy(retries=50, crash_limit=1000)
    jobs = [
        await submitted(stack, saver(("2", "a"), ("3", "b")), policy)
        for _ in range(200 if full_length else 8)
    ]
    async with anyio.create_task_group() as tasks:

        async def kill() -> None:
            for number in range(40 if full_length else 3):
                await anyio.sleep(0.4)
                index = number % len(runners)
                runners[index].kill()
                runners[index] = await stack.runner(*servers, assets=folder, at=points[number % 6])
                if number % 4 == 3:
                    server = servers[number % 2]
                    server.kill()
                    await server.up()
            await stack.runner(*servers, assets=folder)

        tasks.start_soon(kill)
    store = store_of(stack, tmp_path / "assets")
    for job_id in jobs:
        job = await stack.until(job_id, "succeeded", within_s=120)
        await check_stored(store, job, *servers)
