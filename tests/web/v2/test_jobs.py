"""Jobs of comfy-sdk: submit, look, list, cancel."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import httpx
import pytest
from comfy_sdk import AsyncComfy, Comfy
from comfy_sdk.exceptions import IdempotencyKeyReuse, JobFailed, NotFound

from tests.support.programs.stack import sleeper
from tests.support.wait import eventually
from tests.web.site import Site
from tests.web.v2.graphs import failing, short, talking
from tests.web.v2.working import working

pytestmark = pytest.mark.anyio


async def test_a_job_is_submitted_waited_for_and_its_picture_downloaded(
    site: Site, sdk: AsyncComfy
) -> None:
    await working(site)

    job = await sdk.submit(short())
    assert (job.status, job.outputs) == ("queued", [])
    await job.result()

    picture = await job.outputs[0].to_bytes()
    assert (job.status, job.error, job.outputs[0].type) == ("succeeded", None, "image")
    assert (job.outputs[0].node_id, job.outputs[0].job_id) == ("3", job.id)
    assert job.outputs[0].name.startswith("stack_")
    assert (picture[:4], len(picture)) == (b"\x89PNG", job.outputs[0].size_bytes)
    assert await job.outputs[0].to_bytes(range=(1, 3)) == b"PNG"


async def test_the_blocking_client_runs_a_workflow(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await working(site)
    monkeypatch.setenv("COMFY_BASE_URL", site.url)

    def run() -> tuple[str, bytes]:
        with Comfy() as client:
            job = client.submit(short()).result()
            return job.status, job.outputs[0].to_bytes()

    status, picture = await anyio.to_thread.run_sync(run)

    assert (status, picture[:4]) == ("succeeded", b"\x89PNG")


async def test_run_is_a_submit_and_its_result(site: Site, sdk: AsyncComfy) -> None:
    await working(site)

    job = await sdk.run(talking("hello"))

    assert (job.status, job.get_outputs("2")[0].type) == ("succeeded", "text")


async def test_an_answer_has_all_fields_of_the_contract(
    site: Site, client: httpx.AsyncClient
) -> None:
    body = {"workflow": sleeper(0.05), "metadata": {"client": "acme"}}
    answer = await client.post("/api/v2/jobs", json=body)

    told = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == told["urls"]["self"]
    created = datetime.fromisoformat(told["created_at"])
    assert abs(created - datetime.now(UTC)) < timedelta(minutes=1)
    assert datetime.fromisoformat(told["expires_at"]) > created
    assert told["urls"]["self"] == f"{site.url}/api/v2/jobs/{told['id']}"
    assert told["metrics"] == {"wait_ms": None, "run_ms": None, "attempts": 0, "recoveries": 0}
    plain = ("status", "started_at", "completed_at", "progress", "outputs", "error", "metadata")
    assert [told[name] for name in plain] == [
        "queued", None, None, None, [], None, {"client": "acme"},
    ]  # fmt: skip
    assert (await client.get(told["urls"]["self"])).json()["queue_position"] == 1


async def test_a_text_is_an_output(site: Site, sdk: AsyncComfy) -> None:
    await working(site)

    job = await (await sdk.submit(talking("the answer is 42"))).result()

    [output] = job.outputs
    assert (output.type, output.content_type, output.size_bytes) == ("text", "text/plain", 16)
    assert await output.to_bytes() == b"the answer is 42"


async def test_a_job_that_fails_names_the_node_and_where_it_raised(
    site: Site, sdk: AsyncComfy
) -> None:
    await working(site)
    job = await sdk.submit(failing("no such colour"))

    with pytest.raises(JobFailed) as told:
        await job.result()

    error = told.value.error
    assert error is not None
    assert (job.status, error.node_id, error.class_type) == ("failed", "2", "JTRaise")
    assert (error.code, "no such colour" in error.message) == ("execution_error", True)
    assert "RuntimeError" in (error.traceback or "")


async def test_a_waiting_job_is_canceled_at_once_and_again(sdk: AsyncComfy) -> None:
    job = await sdk.submit(short())

    assert (await job.cancel()).status == "canceled"
    assert (await job.cancel()).status == "canceled"


async def test_a_running_job_is_canceled(site: Site, sdk: AsyncComfy) -> None:
    await working(site)
    job = await sdk.submit(short(60))

    async def running() -> bool:
        return (await job.refresh()).status == "running"

    await eventually(running, 20)
    assert (await job.cancel()).status in ("canceling", "canceled")
    assert (await job.wait(20)).status == "canceled"


async def test_the_same_request_is_the_same_job_and_another_one_is_refused(
    sdk: AsyncComfy,
) -> None:
    workflow, key = short(), str(uuid.uuid4())

    first = await sdk.submit(workflow, idempotency_key=key)
    again = await sdk.submit(workflow, idempotency_key=key)
    with pytest.raises(IdempotencyKeyReuse):
        await sdk.submit(short(), idempotency_key=key)

    assert first.id == again.id


async def test_a_job_is_found_by_its_id_with_its_graph(sdk: AsyncComfy) -> None:
    workflow = short()
    made = await sdk.submit(workflow)

    job = await sdk.jobs.get(made.id)
    kept = await job.get_workflow()

    assert (job.id, kept.graph, kept.format) == (made.id, workflow.json, "api")


async def test_a_job_that_nobody_knows_is_not_found(sdk: AsyncComfy) -> None:
    with pytest.raises(NotFound):
        await sdk.jobs.get(str(uuid.uuid4()))


async def test_the_editors_workflow_is_given_back_where_it_was_sent(
    client: httpx.AsyncClient,
) -> None:
    editors: dict[str, object] = {"nodes": [], "links": []}
    extra = {"extra_pnginfo": {"workflow": editors}, "api_key_comfy_org": "comfyui-secret-key"}
    body = {"workflow": sleeper(0.05), "extra_data": extra}
    job = (await client.post("/api/v2/jobs", json=body)).json()
    url = f"{job['urls']['self']}/workflow"

    assert (await client.get(url)).json() == {"workflow": body["workflow"], "format": "api"}
    saved = await client.get(url, params={"format": "save"})
    assert saved.json() == {"workflow": editors, "format": "save"}
    assert "secret" not in saved.text


async def test_there_is_no_log_of_one_job(client: httpx.AsyncClient) -> None:
    job = (await client.post("/api/v2/jobs", json={"workflow": sleeper(0.05)})).json()

    assert (await client.get(job["urls"]["logs"])).status_code == 204
    assert (await client.get("/api/v2/jobs/none/logs")).status_code == 404


async def test_jobs_are_listed_by_label_page_by_page_the_newest_first(
    site: Site, sdk: AsyncComfy
) -> None:
    await site.stack.projector()
    made = [
        (await sdk.submit(short(), metadata={"run": "a" if number % 2 else "b"})).id
        for number in range(9)
    ]
    await (await sdk.jobs.get(made[0])).cancel()  # the newest event is the oldest job's

    everything = [one.id async for one in sdk.list_jobs(limit=2)]
    labelled = [one async for one in sdk.list_jobs(metadata={"run": "a"}, limit=3)]

    assert everything == made[::-1]
    assert [one.id for one in labelled] == made[1::2][::-1]
    assert {one.metadata["run"] for one in labelled} == {"a"}


async def test_a_list_is_filtered_by_status(
    site: Site, sdk: AsyncComfy, client: httpx.AsyncClient
) -> None:
    await site.stack.projector()
    waiting, canceled = await sdk.submit(short()), await sdk.submit(short())
    await canceled.cancel()

    async def listed(statuses: str) -> list[str]:
        answer = await client.get("/api/v2/jobs", params={"status": statuses})
        return [one["id"] for one in answer.json()["jobs"]]

    assert await listed("canceled") == [canceled.id]
    assert await listed("canceled,queued") == [canceled.id, waiting.id]
    assert await listed("running") == []


async def test_the_position_is_right_in_every_look(site: Site, client: httpx.AsyncClient) -> None:
    jobs = [
        (await client.post("/api/v2/jobs", json={"workflow": sleeper(0.05)})).json()
        for _ in range(5)
    ]

    async def positions() -> list[int | None]:
        found = [(await client.get(job["urls"]["self"])).json() for job in jobs]
        return [one["queue_position"] for one in found]

    assert await positions() == [1, 2, 3, 4, 5]
    await client.post(jobs[1]["urls"]["cancel"])
    assert await positions() == [1, None, 2, 3, 4]
    await site.everfold.change_priority(jobs[4]["id"], "high")
    assert await positions() == [2, None, 3, 4, 1]
