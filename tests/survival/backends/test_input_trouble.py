"""Files that jobs send, whoever dies, lies, fills up or is away meanwhile."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import anyio
import pytest

from everfold.client import Everfold
from everfold.streams.events.event import Policy
from everfold.streams.events.limits import LAST_DATE_MS
from everfold.streams.leases.registry import RunnerEntry, register_runner
from tests.support.job_files import BIG, GREEN, RED, Files, name_of, picture, uploads
from tests.support.programs.stack import Stack

pytestmark = [pytest.mark.anyio, pytest.mark.server]


@pytest.fixture
def files(stack: Stack, tmp_path: Path) -> Files:
    return Files(stack, tmp_path / "assets")


@pytest.mark.parametrize("at", ["in_upload", "after_upload", "before_post", "after_post"])
async def test_a_runner_that_is_killed_on_the_way_is_replaced(files: Files, at: str) -> None:
    comfy = await files.stack.comfy()
    file = await files.put(picture(RED, padding=BIG))
    dying = await files.stack.runner(comfy, assets=str(files.folder), at=at)
    job_id = await files.submit(file)
    await dying.line(f"reached {at}", within_s=20)
    await files.stack.runner(comfy, assets=str(files.folder))
    assert await files.shown(job_id) == [RED]
    assert len(await comfy.executions()) == 1


@pytest.mark.parametrize("at", ["after_upload", "before_post"])
async def test_a_server_that_restarts_without_its_inputs_gets_them_again(
    files: Files, at: str
) -> None:
    comfy = await files.stack.comfy()
    runner = await files.stack.runner(comfy, assets=str(files.folder), at=at, signal="SIGSTOP")
    job_id = await files.submit(await files.put(picture(RED)))
    await runner.line(f"reached {at}", within_s=20)
    comfy.kill()
    shutil.rmtree(comfy.ledger.parent / "input")
    await comfy.up()
    runner.send(signal.SIGCONT)
    assert await files.shown(job_id) == [RED]


async def test_a_file_that_somebody_removed_there_is_sent_again(files: Files) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy, assets=str(files.folder))
    file = await files.put(picture(RED))
    assert await files.shown(await files.submit(file)) == [RED]
    shutil.rmtree(comfy.ledger.parent / "input" / "everfold")
    assert await files.shown(await files.submit(file)) == [RED]
    assert len(await uploads(comfy)) == 2


async def test_half_a_file_of_that_name_is_left_alone_and_another_name_is_sent(
    files: Files,
) -> None:
    comfy = await files.stack.comfy()
    file = await files.put(picture(RED))
    half = comfy.ledger.parent / "input" / name_of(file)
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_bytes(picture(GREEN))
    await files.stack.runner(comfy, assets=str(files.folder))
    job_id = await files.submit(file)
    assert await files.shown(job_id) == [RED]
    assert await files.sent(job_id) == [{"10.image": name_of(file).replace(".png", " (1).png")}]
    assert half.read_bytes() == picture(GREEN)


async def test_an_upload_that_is_cut_is_sent_again_before_the_prompt(files: Files) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy, assets=str(files.folder))
    await files.stack.until(await files.stack.submit(0.0), "succeeded")  # its own files are there
    await comfy.fault("spoil_uploads")
    file = await files.put(picture(RED))
    job_id = await files.submit(file)
    assert await files.shown(job_id) == [RED]
    assert await files.sent(job_id) == [{"10.image": name_of(file).replace(".png", " (1).png")}]
    assert len(await uploads(comfy)) == 2
    assert len(await comfy.executions()) == 2


async def test_a_server_that_keeps_other_bytes_is_never_sent_the_prompt(files: Files) -> None:
    liar = await files.stack.comfy()
    await files.stack.runner(liar, assets=str(files.folder))
    assert await files.shown(await files.submit(await files.put(picture(GREEN)))) == [GREEN]
    await liar.fault("spoil_uploads", count=1000)
    job_id = await files.submit(await files.put(picture(RED)))
    await files.until_released(job_id, liar.url, "it was sent photo.png", "keeps blake3:")
    assert len(await liar.executions()) == 1
    other = await files.stack.comfy()
    await files.stack.runner(other, assets=str(files.folder))
    assert await files.shown(job_id) == [RED]
    assert len(await liar.executions()) == 1


async def test_a_runner_gives_the_job_to_the_one_of_its_servers_that_takes_the_file(
    files: Files,
) -> None:
    small, large = await files.stack.comfy(), await files.stack.comfy()
    await small.fault("limit_uploads", bytes=2**20)
    await files.stack.runner(small, large, assets=str(files.folder), slots=4)
    file = await files.put(picture(RED, padding=BIG))
    jobs = [await files.submit(file) for _ in range(4)]
    for job_id in jobs:
        assert await files.shown(job_id) == [RED]
    assert await small.executions() == []


async def test_a_file_that_is_too_large_for_every_server_waits_and_says_what_to_do(
    files: Files,
) -> None:
    comfy = await files.stack.comfy()
    await comfy.fault("limit_uploads", bytes=2**20)
    await files.stack.runner(comfy, assets=str(files.folder))
    job_id = await files.submit(await files.put(picture(RED, padding=BIG)))
    await files.until_released(job_id, "--max-upload-size", "photo.png has 6,29")
    assert (await files.stack.job(job_id)).status == "queued"
    assert await comfy.executions() == []


async def test_a_server_that_fails_uploads_still_gets_other_jobs(files: Files) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy, assets=str(files.folder))
    await files.stack.until(await files.stack.submit(0.0), "succeeded")
    await comfy.fault("break_uploads", count=1000)
    job_id = await files.submit(await files.put(picture(RED)))
    await files.until_released(job_id, "answered 500")
    await files.stack.until(await files.stack.submit(0.0), "succeeded")


async def test_a_runner_without_a_store_leaves_the_job_to_one_that_has_it(files: Files) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy)
    job_id = await files.submit(await files.put(picture(RED)))
    await files.until_released(job_id, "no store of assets", "--assets")
    await files.stack.runner(comfy, assets=str(files.folder))
    assert await files.shown(job_id) == [RED]


async def test_a_job_whose_file_is_gone_fails_and_says_which(files: Files) -> None:
    comfy = await files.stack.comfy()
    file = await files.put(picture(RED))
    job_id = await files.submit(file)
    await files.store.blobs.delete(file.hash)
    await files.stack.runner(comfy, assets=str(files.folder))
    job = await files.stack.until(job_id, "failed")
    assert job.error is not None
    assert job.error.code == "input_gone"
    assert f"10.image: {files.folder} no longer has photo.png" in job.error.message
    assert await comfy.executions() == []


async def test_a_runner_whose_store_lacks_a_file_leaves_the_job_to_one_with_another_store(
    files: Files, tmp_path: Path
) -> None:
    comfy, log = await files.stack.comfy(), files.stack.log
    far = RunnerEntry(
        runner="far", host="far", pid=1, queues=("default",), backends=(), since_ms=1,
        is_named=False, seen_ms=LAST_DATE_MS, assets="/place",
    )  # fmt: skip
    await register_runner(log, far)
    job_id = await files.submit(await files.put(picture(RED)))
    await files.stack.runner(comfy, assets=str(tmp_path / "elsewhere"))
    await files.until_released(job_id, "no longer has photo.png", "in /place on far")
    await files.stack.runner(comfy, assets=str(files.folder))
    assert await files.shown(job_id) == [RED]


@pytest.mark.parametrize("change", ["other", "shorter", "longer"])
async def test_a_job_whose_stored_file_was_damaged_fails_and_no_server_is_blamed(
    files: Files, change: str
) -> None:
    comfy = await files.stack.comfy()
    content = picture(RED)
    file = await files.put(content)
    (stored,) = files.folder.rglob("?" * 64)
    damaged = {"other": content[:-1] + b"?", "shorter": content[:-5], "longer": content + b"12345"}
    stored.write_bytes(damaged[change])
    runner = await files.stack.runner(comfy, assets=str(files.folder))
    job = await files.stack.until(await files.submit(file), "failed")
    assert job.error is not None
    assert job.error.code == "input_gone"
    assert "has other bytes in the place of photo.png" in job.error.message
    assert await comfy.executions() == []
    assert "input_not_taken" not in str(runner)


async def test_a_job_waits_while_the_store_cannot_be_read(files: Files) -> None:
    comfy = await files.stack.comfy()
    job_id = await files.submit(await files.put(picture(RED)))
    away = files.folder.rename(files.folder.with_name("away"))
    files.folder.symlink_to("nowhere")
    await files.stack.runner(comfy, assets=str(files.folder))
    await files.until_released(job_id, "the store of assets cannot be read")
    files.folder.unlink()
    away.rename(files.folder)
    assert await files.shown(job_id) == [RED]
    job = await files.stack.job(job_id)
    assert (job.recovered, job.broken, job.retried) == (0, 0, 0)


async def test_a_cancel_ends_an_upload_at_once(files: Files) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy, assets=str(files.folder))
    await files.stack.until(await files.stack.submit(0.0), "succeeded")
    await comfy.fault("pause_uploads", seconds=120)
    job_id = await files.submit(await files.put(picture(RED, padding=BIG)))
    await files.stack.until_event(job_id, "claimed")
    await anyio.sleep(0.5)  # any moment of the upload will do
    namespace = files.stack.log.keys.namespace
    async with Everfold.connect(files.stack.redis_url, namespace=namespace) as everfold:
        await everfold.cancel(job_id, "changed my mind")
    job = await files.stack.until(job_id, "canceled", within_s=10)
    assert job.attempt == 0
    await files.stack.until(await files.stack.submit(0.0), "succeeded")


async def test_a_drain_ends_an_upload_and_the_next_runner_sends_it(files: Files) -> None:
    slow, comfy = await files.stack.comfy(), await files.stack.comfy()
    draining = await files.stack.runner(slow, assets=str(files.folder), drain_s=0.5)
    await files.stack.until(await files.stack.submit(0.0), "succeeded")
    await slow.fault("pause_uploads", seconds=120)
    job_id = await files.submit(await files.put(picture(RED, padding=BIG)))
    await files.stack.until_event(job_id, "claimed")
    draining.send(signal.SIGTERM)
    await files.stack.until_event(job_id, "released", within_s=10)
    assert (await files.releases(job_id))[0].reason == "drain"
    await files.stack.runner(comfy, assets=str(files.folder))
    assert await files.shown(job_id) == [RED]


async def test_a_queue_deadline_ends_a_job_whose_upload_does_not(files: Files) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy, assets=str(files.folder))
    await files.stack.until(await files.stack.submit(0.0), "succeeded")
    await comfy.fault("pause_uploads", seconds=120)
    file = await files.put(picture(RED, padding=BIG))
    graph = {
        "10": {"class_type": "LoadImage", "inputs": {"image": f"everfold:{file.asset}"}},
        "12": {"class_type": "PreviewImage", "inputs": {"images": ["10", 0]}},
    }
    policy = Policy(queue_deadline_s=1.5)
    made = await files.stack.log.submit(graph, inputs={"10.image": file}, policy=policy)
    job = await files.stack.until(made.job_id, "expired", within_s=10)
    assert job.reason == "queue_deadline"
