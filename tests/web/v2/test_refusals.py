"""Requests that are wrong: each is a 4xx with the envelope of the contract, and does nothing."""

from __future__ import annotations

import json

import httpx
import pytest
from comfy_sdk import AsyncComfy
from comfy_sdk.exceptions import ComfyError, InvalidWorkflow
from comfy_sdk.workflows import Workflow

from everfold.streams.leases.backends import backend_entries
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually
from tests.web.site import Site
from tests.web.v2.graphs import short
from tests.web.v2.working import working

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
NODE = {"class_type": "LoadImage"}
ASSET = {"__type": "core/ASSET", "info": {}}
LONG = "x" * 600

JOBS: list[tuple[object, int, str]] = [
    (b"", 400, "invalid_json"),
    (b"{", 400, "invalid_json"),
    (b"\xff\xfe\x00", 400, "invalid_json"),
    (b"[" * 500 + b"]" * 500, 400, "invalid_json"),
    (b'{"workflow": NaN}', 400, "invalid_json"),
    ([], 422, "invalid_request"),
    ({}, 422, "invalid_request"),
    ({"workflow": None}, 422, "invalid_workflow"),
    ({"workflow": []}, 422, "invalid_workflow"),
    ({"workflow": {}}, 422, "invalid_workflow"),
    ({"workflow": "text"}, 422, "invalid_workflow"),
    ({"workflow": {"1": {}}}, 422, "invalid_workflow"),
    ({"workflow": {"1": NODE}}, 422, "invalid_workflow"),
    (b'{"workflow": {"1": 1, "1": 2}}', 422, "invalid_workflow"),
    ({"workflow": {"nodes": [], "links": [], "last_node_id": 1}}, 422, "workflow_format_ui"),
    ({"workflow": {"1": {**NODE, "inputs": {"image": ASSET}}}}, 422, "missing_asset"),
    ({"workflow": {"1": {**NODE, "inputs": {"image": "everfold:" + "0" * 8 + "-0000" * 3
      + "-" + "0" * 12}}}}, 422, "missing_asset"),
    ({"workflow": GRAPH, "metadata": "text"}, 422, "metadata_invalid"),
    ({"workflow": GRAPH, "metadata": {"a": 1}}, 422, "metadata_invalid"),
    ({"workflow": GRAPH, "metadata": {"": "a"}}, 422, "metadata_invalid"),
    ({"workflow": GRAPH, "metadata": {"a": LONG}}, 422, "metadata_invalid"),
    ({"workflow": GRAPH, "metadata": {f"n{i}": "" for i in range(17)}}, 422, "metadata_invalid"),
    ({"workflow": GRAPH, "extra_data": []}, 422, "invalid_request"),
    ({"workflow": GRAPH, "extra_data": {"api_key_comfy_org": 7}}, 422, "invalid_request"),
    ({"workflow": GRAPH, "extra_data": {"api_key_comfy_org": "short"}}, 422, "invalid_request"),
    ({"workflow": GRAPH, "extra_data": {"partial_execution_targets": 1}}, 422, "invalid_request"),
]  # fmt: skip

OTHERS: list[tuple[str, str, dict[str, str], int, str]] = [
    ("GET", "/jobs?limit=0", {}, 400, "invalid_request"),
    ("GET", "/jobs?limit=-1", {}, 400, "invalid_request"),
    ("GET", "/jobs?limit=x", {}, 400, "invalid_request"),
    ("GET", f"/jobs?limit={'9' * 5000}", {}, 400, "invalid_request"),
    ("GET", "/jobs?status=sleeping", {}, 400, "invalid_request"),
    ("GET", "/jobs?cursor=x", {}, 400, "invalid_cursor"),
    ("GET", "/jobs?cursor=%F0%9F%92%A9", {}, 400, "invalid_cursor"),
    ("GET", f"/jobs?cursor={'A' * 9000}", {}, 400, "invalid_cursor"),
    ("GET", "/jobs?metadata=x", {}, 400, "invalid_metadata_filter"),
    ("GET", "/jobs?metadata[]=x", {}, 400, "invalid_metadata_filter"),
    ("GET", "/jobs?metadata[a]=x&metadata[a]=y", {}, 400, "invalid_metadata_filter"),
    ("GET", f"/jobs?metadata[a]={LONG}", {}, 400, "invalid_metadata_filter"),
    ("GET", "/jobs/unknown", {}, 404, "not_found"),
    ("GET", "/jobs/%00", {}, 404, "not_found"),
    ("GET", f"/jobs/{LONG}", {}, 404, "not_found"),
    ("GET", "/jobs/unknown/events", {}, 404, "not_found"),
    ("GET", "/jobs/unknown/workflow", {}, 404, "not_found"),
    ("GET", "/jobs/unknown/workflow?format=pdf", {}, 400, "invalid_request"),
    ("POST", "/jobs/unknown/cancel", {}, 404, "not_found"),
    ("PUT", "/jobs/unknown", {}, 405, "method_not_allowed"),
    ("DELETE", "/jobs", {}, 405, "method_not_allowed"),
    ("GET", "/nothing", {}, 404, "not_found"),
    ("GET", "/", {}, 404, "not_found"),
    ("GET", "/assets/unknown", {}, 404, "not_found"),
    ("GET", "/assets/job.AAAA", {}, 404, "not_found"),
    ("GET", f"/assets/job.{'A' * 9000}/content", {}, 404, "not_found"),
    ("DELETE", "/assets/unknown", {}, 404, "not_found"),
    ("POST", "/assets", {}, 415, "unsupported_media_type"),
    ("POST", "/assets", {"Content-Type": "multipart/form-data"}, 415, "unsupported_media_type"),
    ("POST", "/assets/from-hash", {}, 400, "invalid_json"),
    ("POST", "/jobs", {"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
    ("POST", "/jobs", {"Content-Type": "multipart/form-data; boundary=b"}, 415,
     "unsupported_media_type"),
    ("POST", "/jobs", {"Idempotency-Key": ""}, 400, "invalid_idempotency_key"),
    ("POST", "/jobs", {"Idempotency-Key": "x" * 256}, 400, "invalid_idempotency_key"),
]  # fmt: skip


def check(answer: httpx.Response, status: int, code: str) -> None:
    told = answer.json()
    assert (answer.status_code, told["error"]["code"]) == (status, code), told
    assert set(told) == {"error"}
    assert set(told["error"]) == {"code", "message", "details"}
    assert told["error"]["message"]


async def test_a_wrong_job_is_refused(client: httpx.AsyncClient) -> None:
    for body, status, code in JOBS:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        check(await client.post("/api/v2/jobs", content=sent), status, code)

    assert (await client.get("/api/v2/jobs")).json() == {"jobs": []}


async def test_any_other_wrong_request_is_refused(client: httpx.AsyncClient) -> None:
    for method, path, headers, status, code in OTHERS:
        check(await client.request(method, f"/api/v2{path}", headers=headers), status, code)


async def test_a_large_body_is_not_read(client: httpx.AsyncClient) -> None:
    body = b'{"workflow": {}, "extra": "' + b"x" * (17 * 2**20) + b'"}'

    check(await client.post("/api/v2/jobs", content=body), 413, "too_large")


async def test_a_graph_that_no_server_takes_comes_back_with_node_errors(
    site: Site, sdk: AsyncComfy
) -> None:
    await working(site)

    async def is_known() -> bool:
        return any(one.object_info for one in await backend_entries(site.stack.log))

    await eventually(is_known, 20)
    graph = sleeper(0.05)
    graph["3"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}

    with pytest.raises(InvalidWorkflow) as missing_input:
        await sdk.submit(Workflow(graph))
    with pytest.raises(InvalidWorkflow):
        await sdk.submit(Workflow({"1": {"class_type": "NoSuchNode", "inputs": {}}}))

    details = missing_input.value.details
    assert details is not None
    errors = details["node_errors"]["3"]
    assert errors["class_type"] == "SaveImage"
    assert errors["errors"][0]["type"] == "required_input_missing"
    assert errors["errors"][0]["extra_info"]["input_name"] == "images"


async def test_a_full_queue_says_when_to_come_again(site: Site, client: httpx.AsyncClient) -> None:
    await site.everfold.set_limit("waiting", "queue", "default", 1)
    await client.post("/api/v2/jobs", json={"workflow": sleeper(0.05)})

    answer = await client.post("/api/v2/jobs", json={"workflow": sleeper(0.05)})

    check(answer, 429, "queue_full")
    assert int(answer.headers["retry-after"]) > 0


async def test_an_error_of_a_label_names_it(sdk: AsyncComfy) -> None:
    with pytest.raises(ComfyError) as told:
        await sdk.submit(short(), metadata={"client": LONG})

    assert told.value.code == "metadata_invalid"
    assert "client" in str(told.value)
