"""Each way in which ComfyUI can fail a job: what the runner makes of it."""

from __future__ import annotations

import anyio
import httpx
import pytest
import websockets
from aiohttp import web

from everfold.streams.events.event import Policy
from everfold.streams.leases.backends import backend_entries
from tests.support.programs.stack import Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_a_restarted_comfyui_has_lost_the_job_and_a_second_attempt_runs(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=2)
    await stack.until(job_id, "running")
    first = (await stack.job(job_id)).prompt_id
    comfy.kill()
    await comfy.up()
    job = await stack.until(job_id, "succeeded")
    assert job.attempt == 2
    assert job.losses == 1
    assert job.prompt_id != first
    assert '"cause":"backend_restarted"' in await stack.event_text(job_id)


async def test_without_a_retry_left_a_lost_job_fails_with_the_reason(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=20, policy=Policy(retries=0))
    await stack.until(job_id, "running")
    comfy.kill()
    await comfy.up()
    job = await stack.until(job_id, "failed")
    assert job.error is not None
    assert job.error.code == "backend_lost"


async def test_a_job_waits_for_an_unreachable_comfyui_and_is_never_called_lost(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    comfy.kill()
    job_id = await stack.submit(seconds=0.3)
    assert (await stack.job(job_id)).status == "queued"
    await comfy.up()
    job = await stack.until(job_id, "succeeded")
    assert job.losses == 0


async def test_a_lost_answer_to_the_post_is_resolved_by_truth_and_not_repeated(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await comfy.fault("lose_post_response", count=1)
    await stack.runner(comfy)
    job = await stack.until(await stack.submit(seconds=0.5), "succeeded")
    assert job.attempt == 1
    assert await comfy.executions() == [job.prompt_id]


async def test_a_post_that_never_arrived_is_made_again_under_a_new_id(stack: Stack) -> None:
    comfy = await stack.comfy()
    await comfy.fault("lose_post_request", count=1)
    await stack.runner(comfy)
    job = await stack.until(await stack.submit(seconds=0.3), "succeeded")
    assert job.attempt == 2
    assert await comfy.executions() == [job.prompt_id]


@pytest.mark.long
async def test_a_server_with_prompt_ids_of_its_own_is_left_alone_until_it_restarts(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await comfy.fault("own_ids")
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=4)

    async def is_told() -> bool:
        whys = [entry.why for entry in await backend_entries(stack.log)]
        return any("it ignores the prompt_id" in why for why in whys)

    await eventually(is_told, 20)
    await stack.until_event(job_id, "lost")
    assert await comfy.running() == []  # interrupted: it would run on for seconds
    await anyio.sleep(2)
    assert len(await comfy.executions()) == 1
    assert (await stack.job(job_id)).status == "queued"
    comfy.kill()
    await comfy.up()
    job = await stack.until(job_id, "succeeded", within_s=40)
    assert (job.attempt, job.losses) == (2, 0)
    assert '"cause":"turned_away"' in await stack.event_text(job_id)


async def test_a_muted_websocket_costs_no_result(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=2)
    await stack.until(job_id, "running")
    await comfy.fault("mute_sockets")
    assert (await stack.until(job_id, "succeeded")).outputs


async def test_a_dropped_websocket_is_opened_again_and_progress_goes_on(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=3)
    await stack.until(job_id, "running")
    await comfy.fault("drop_sockets")
    before = (await stack.job(job_id)).progress
    job = await stack.until(job_id, "succeeded")
    told = [line for line in (await stack.event_text(job_id)).splitlines() if "progressed" in line]
    assert len(told) >= 3
    assert before < job.progress == 1.0


async def test_a_deaf_websocket_is_opened_anew_and_progress_goes_on(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, silent_after_s=1.0)
    job_id = await stack.submit(seconds=6)
    job = await stack.until(job_id, "running")
    # ComfyUI forgets a client id when any socket of that id closes, and sends to nobody then.
    address = comfy.url.replace("http", "ws") + f"/ws?clientId={job.client_id}"
    async with websockets.connect(address):
        pass
    await stack.until_progress(job_id, 0.9)
    assert (await stack.until(job_id, "succeeded")).attempt == 1


@pytest.mark.long
async def test_jobs_behind_a_dead_worker_move_to_another_backend(stack: Stack) -> None:
    sick, well = await stack.comfy(), await stack.comfy()
    await sick.fault("kill_worker")
    runner = await stack.runner(sick)
    job_id = await stack.submit(seconds=0.3)
    await stack.until_event(job_id, "queued")
    await stack.runner(well)
    runner.kill()
    await stack.runner(sick, well)
    job = await stack.until(job_id, "succeeded")
    assert job.backend == well.url
    assert await sick.executions() == []


async def test_out_of_memory_is_tried_again_later_and_then_fails(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    graph = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 1},
        },
        "2": {"class_type": "JTOom", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    policy = Policy(retries=1, retry_backoff_s=0.2)
    job_id = (await stack.log.submit(graph, policy=policy)).job_id
    job = await stack.until(job_id, "failed")
    assert job.error is not None
    assert (job.error.code, job.attempt, job.retried) == ("out_of_memory", 2, 1)


async def test_a_run_longer_than_its_deadline_is_interrupted_and_failed(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=30, policy=Policy(run_deadline_s=1.0))
    job = await stack.until(job_id, "failed")
    assert job.error is not None
    assert job.error.code == "run_deadline"


async def test_a_job_that_waits_longer_than_its_deadline_expires(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, slots=1)
    busy = await stack.submit(seconds=4)
    await stack.until(busy, "running")
    job_id = await stack.submit(seconds=1, policy=Policy(queue_deadline_s=0.5))
    job = await stack.until(job_id, "expired")
    assert job.reason == "queue_deadline"


async def test_a_stalled_run_is_interrupted_and_failed(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=10, policy=Policy(stall_deadline_s=1.0))
    await stack.until(job_id, "running")
    await comfy.fault("stall", seconds=4)
    job = await stack.until(job_id, "failed")
    assert job.error is not None
    assert job.error.code == "stalled"


async def test_a_muted_websocket_is_no_stall(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=8, policy=Policy(stall_deadline_s=1.5))
    await stack.until(job_id, "running")
    await comfy.fault("mute_sockets")
    await stack.until(job_id, "succeeded", within_s=30)


async def test_a_success_that_was_told_stands_when_the_history_is_cleared(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    async with httpx.AsyncClient(base_url=comfy.url) as client, anyio.create_task_group() as group:

        async def clear() -> None:
            while True:
                await client.post("/history", json={"clear": True})
                await anyio.sleep(0.005)

        group.start_soon(clear)
        jobs = [await stack.submit(seconds=0.3) for _ in range(4)]
        for job_id in jobs:
            job = await stack.until(job_id, "succeeded", within_s=30)
            assert job.outputs
            assert job.attempt == 1
        group.cancel_scope.cancel()


async def test_a_backend_whose_history_is_never_understood_is_given_up(stack: Stack) -> None:
    """Its queue answers as ever, so it counts as reachable; the bound applies all the same."""

    async def queue(_: web.Request) -> web.Response:
        return web.json_response({"queue_running": [], "queue_pending": []})

    async def accept(request: web.Request) -> web.Response:
        prompt_id = (await request.json())["prompt_id"]
        return web.json_response({"prompt_id": prompt_id, "number": 1, "node_errors": {}})

    async def upload(request: web.Request) -> web.Response:
        image = (await request.post())["image"]
        assert isinstance(image, web.FileField)
        files[image.filename] = image.file.read()
        return web.json_response({})

    async def view(request: web.Request) -> web.Response:
        return web.Response(body=files[request.query["filename"]])

    async def odd(_: web.Request) -> web.Response:
        return web.json_response({"version": 9})

    files: dict[str, bytes] = {}
    app = web.Application()
    app.add_routes([web.get("/queue", queue), web.post("/prompt", accept), web.get("/view", view)])
    app.add_routes([web.post("/upload/image", upload), web.get("/{rest:.*}", odd)])
    server = web.AppRunner(app)
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    await stack.runner(backends=[f"http://127.0.0.1:{server.addresses[0][1]}"])
    job_id = await stack.submit(policy=Policy(backend_away_s=2.0))

    async def given_up() -> bool:
        return '"cause":"backend_gone"' in await stack.event_text(job_id)

    await eventually(given_up, 30)
    await server.cleanup()


async def test_a_job_that_has_started_meets_its_queue_deadline_also_while_it_waits_again(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    policy = Policy(queue_deadline_s=3.0, retry_backoff_s=4.0)
    job_id = await stack.submit(seconds=3, policy=policy)
    await stack.until_progress(job_id, 0.01)
    async with httpx.AsyncClient() as somebody:
        await somebody.post(f"{comfy.url}/interrupt", json={})
    await stack.until_event(job_id, "retried")
    assert (await stack.until(job_id, "succeeded")).attempt == 2
