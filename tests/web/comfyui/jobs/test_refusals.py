"""What POST /prompt and its kin refuse, and how: never a 500, never a job."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually
from tests.web.comfyui.jobs.test_prompts import history_of, queued
from tests.web.site import Site

pytestmark = pytest.mark.anyio

NODE = {"1": {"class_type": "EmptyImage", "inputs": {}}}

REFUSED: list[tuple[str, object, str]] = [
    ("no prompt", {"client_id": "a"}, "no_prompt"),
    ("a list", {"prompt": ["x"]}, "invalid_prompt"),
    ("null", {"prompt": None}, "invalid_prompt"),
    ("no nodes", {"prompt": {}}, "invalid_prompt"),
    ("a node that is none", {"prompt": {"1": 7}}, "invalid_prompt"),
    ("no class", {"prompt": {"1": {"inputs": {}}}}, "missing_node_type"),
    ("no inputs", {"prompt": {"1": {"class_type": "A"}}}, "invalid_prompt"),
    ("an odd id", {"prompt": NODE, "prompt_id": "a/b c"}, "invalid_prompt_id"),
    ("a capital id", {"prompt": NODE, "prompt_id": str(uuid.uuid4()).upper()}, "invalid_prompt_id"),
    ("a number as id", {"prompt": NODE, "prompt_id": 7}, "invalid_prompt_id"),
    ("an odd client", {"prompt": NODE, "client_id": {"a": 1}}, "invalid_client_id"),
    ("a long client", {"prompt": NODE, "client_id": "x" * 1000}, "invalid_client_id"),
    ("odd extra data", {"prompt": NODE, "extra_data": [1]}, "invalid_extra_data"),
    ("an odd number", {"prompt": NODE, "number": "first"}, "invalid_number"),
    ("odd targets", {"prompt": NODE, "partial_execution_targets": "1"}, "invalid_targets"),
    ("no targets", {"prompt": NODE, "partial_execution_targets": ["9"]}, "prompt_no_outputs"),
    ("a short key", {"prompt": NODE, "extra_data": {"api_key_comfy_org": "k"}}, "invalid_request"),
    ("a list as body", [], "invalid_request"),
    ("a number as body", 7, "invalid_request"),
]


@pytest.mark.parametrize(("body", "kind"), [pytest.param(b, k, id=i) for i, b, k in REFUSED])
async def test_what_makes_no_sense_is_refused_in_comfyui_s_shape(
    client: httpx.AsyncClient, site: Site, body: object, kind: str
) -> None:
    answer = await client.post("/prompt", json=body)

    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert told.keys() == {"error", "node_errors"}
    assert told["error"].keys() == {"type", "message", "details", "extra_info"}
    assert told["error"]["type"] == kind
    assert (await site.everfold.list()).jobs == []


HOSTILE = [
    b"", b"{", b"{not json", b"\xff\xfe", b"null", b"[" * 100_000, b'{"prompt": ' + b"[" * 5000,
    b'{"prompt": {"1": {"class_type": "A", "inputs": {"x": NaN}}}}', b'"prompt"', b"0",
    b'{"prompt": {"1": {"class_type": "A", "inputs": {"x": 1e999}}}}', b"{}" * 10,
    b'{"delete": [[[{}]], null, 1.5], "job_ids": {"a": 1}, "prompt_id": [1], "clear": "x"}',
]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["/prompt", "/queue", "/interrupt", "/history", "/api/jobs/cancel", "/upload/image"],
)
async def test_hostile_bodies_change_nothing(
    client: httpx.AsyncClient, site: Site, path: str
) -> None:
    waiting = await queued(client, sleeper(1))
    for body in HOSTILE:
        answer = await client.post(path, content=body)
        assert answer.status_code < 500, (body[:60], answer.text)
    if path != "/queue":  # one of them clears it
        assert (await site.everfold.get(waiting)).status == "queued"
    assert len((await site.everfold.list()).jobs) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/history?max_items=-1", "/history?max_items=99999999999999999999", "/history?offset=x",
        "/history/%00", "/history/..%2f..", "/api/jobs?status=odd", "/api/jobs?sort_by=x",
        "/api/jobs?limit=x", "/api/jobs/%ff", "/view", "/view?filename=%00&type=input",
        "/view?filename=a&subfolder=%2e%2e%2f", "/object_info/%ff%00", "/models/..%2f", "/history/",
    ],
)  # fmt: skip
async def test_odd_addresses_are_answered(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code in (200, 400, 404)


HALF: dict[str, Any] = {
    **sleeper(0.1),
    "8": {"class_type": "ImageScale",
                 "inputs": {"image": ["1", 0], "upscale_method": "bogus", "width": 8,
                            "height": 8, "crop": "disabled"}},
    "9": {"class_type": "SaveImage",
                 "inputs": {"images": ["8", 0], "filename_prefix": "bad"}},
}  # fmt: skip
"""Node 3 is an output that can be run, node 9 one that cannot."""


async def test_what_no_server_would_run_is_refused_as_comfyui_does(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    await stack.runner(await stack.comfy())
    odd = {"1": {"class_type": "NoSuchNode", "inputs": {"x": 1}}}

    async def answer() -> dict[str, Any] | bool:
        told = await client.post("/prompt", json={"prompt": odd})
        return told.json() if told.status_code == 400 else False

    told: Any = await eventually(answer, 20)
    assert told["error"]["type"] == "missing_node_type"
    assert told["error"]["extra_info"]["class_type"] == "NoSuchNode"
    assert told["node_errors"] == {}

    no_output = {"1": sleeper(1)["1"]}
    told = (await client.post("/prompt", json={"prompt": no_output})).json()
    assert told["error"] == {
        "type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": "",
        "extra_info": {},
    }  # fmt: skip

    accepted = await client.post("/prompt", json={"prompt": HALF})
    assert accepted.status_code == 200
    errors = accepted.json()["node_errors"]["8"]
    assert [error["type"] for error in errors["errors"]] == ["value_not_in_list"]
    assert errors["dependent_outputs"] == ["9"]


async def test_of_a_part_of_a_graph_only_that_part_is_checked(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    await stack.runner(await stack.comfy())
    part = {"prompt": HALF, "partial_execution_targets": ["3"]}

    async def is_checked() -> bool:
        return bool((await client.post("/prompt", json={"prompt": HALF})).json()["node_errors"])

    await eventually(is_checked, 20)
    await client.post("/queue", json={"clear": True})
    accepted = await client.post("/prompt", json=part)
    assert (accepted.status_code, accepted.json()["node_errors"]) == (200, {})
    entry = await history_of(client, accepted.json()["prompt_id"])
    assert (entry["status"]["status_str"], entry["prompt"][4]) == ("success", ["3"])

    gone = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "gone.safetensors"}}
    accepted = await client.post("/prompt", json={**part, "prompt": {**HALF, "7": gone}})
    assert accepted.status_code == 200, accepted.text
    entry = await history_of(client, accepted.json()["prompt_id"])
    assert entry["status"]["status_str"] == "success"

    for targets, kind, nodes in (
        (["9"], "prompt_outputs_failed_validation", {"8"}),
        (["1"], "prompt_no_outputs", set[str]()),
        (["1", "nobody"], "prompt_no_outputs", set[str]()),
    ):
        body = {**part, "partial_execution_targets": targets}
        refused = await client.post("/prompt", json=body)
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, kind)
        assert refused.json()["node_errors"].keys() == nodes
