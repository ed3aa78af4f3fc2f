"""The `traceparent` of a request is that of the job which it makes, by each of the contracts."""

from __future__ import annotations

import pytest

from tests.web.site import Site, client_of

pytestmark = pytest.mark.anyio

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
}


async def made_by(site: Site, traceparent: str, path: str, body: dict[str, object]) -> str:
    """Return the trace of the job that a request makes."""
    async with client_of(site) as client:
        answer = await client.post(path, json=body, headers={"traceparent": traceparent})
    assert answer.is_success, answer.text
    told = answer.json()
    return (await site.everfold.get(told.get("id") or told["prompt_id"])).trace


@pytest.mark.parametrize(
    ("path", "name"),
    [("/api/v2/jobs", "workflow"), ("/prompt", "prompt"), ("/api/prompt", "prompt")],
)
async def test_a_request_names_the_trace_of_its_job(site: Site, path: str, name: str) -> None:
    assert await made_by(site, TRACEPARENT, path, {name: GRAPH}) == TRACEPARENT
    for malformed in ("nonsense", f"{TRACEPARENT}, {TRACEPARENT}", "x" * 10_000):
        assert await made_by(site, malformed, path, {name: GRAPH}) == ""


async def test_a_rerun_belongs_to_the_trace_of_its_own_request(site: Site) -> None:
    first = await site.everfold.submit(GRAPH, validate=False)
    await site.everfold.cancel(first.job_id)
    await site.everfold.wait(first.job_id)
    async with client_of(site) as client:
        answer = await client.post(
            f"/everfold/v1/jobs/{first.job_id}/rerun", json={}, headers={"traceparent": TRACEPARENT}
        )
    assert answer.is_success, answer.text
    job_id = answer.json()["job_id"]
    assert (await site.everfold.get(job_id)).trace == TRACEPARENT
