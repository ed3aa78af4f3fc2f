"""A request that makes a job may name a URL that is told of the job's end, in each contract."""

from __future__ import annotations

import httpx
import pytest

from everfold import Everfold
from everfold.streams.appending.callback import load_callback
from everfold.web.operation import CALLBACK
from tests.support.programs.stack import sleeper

pytestmark = pytest.mark.anyio

GRAPH = sleeper(0.1)
URL = "https://shop.example/done?token=hidden-word"


async def posted(client: httpx.AsyncClient, path: str, url: str, key: str = "k") -> httpx.Response:
    field = "prompt" if path == "/prompt" else "workflow"
    headers = {CALLBACK.name: url, "Idempotency-Key": key}
    return await client.post(path, json={field: GRAPH}, headers=headers)


@pytest.mark.parametrize("path", ["/prompt", "/api/v2/jobs"])
async def test_a_request_names_the_callback_of_its_job(
    client: httpx.AsyncClient, everfold: Everfold, path: str
) -> None:
    answer = await posted(client, path, URL)
    assert answer.is_success, answer.text
    job_id = answer.json().get("prompt_id") or answer.json()["id"]
    assert await load_callback(everfold.log, job_id) == URL
    shown = await client.get(f"/everfold/v1/jobs/{job_id}")
    assert "shop.example" in shown.text
    assert "hidden-word" not in shown.text + answer.text


@pytest.mark.parametrize("path", ["/prompt", "/api/v2/jobs"])
@pytest.mark.parametrize("url", ["ftp://a.example", "nothing", "https://me:secret-word@a.example"])
async def test_what_is_no_callback_is_refused_and_makes_no_job(
    client: httpx.AsyncClient, everfold: Everfold, path: str, url: str
) -> None:
    answer = await posted(client, path, url)
    assert answer.status_code in (400, 422), answer.text
    assert "callback" in answer.text
    assert "secret-word" not in answer.text
    assert (await everfold.list()).jobs == []


async def test_a_repeat_with_another_callback_is_a_conflict(client: httpx.AsyncClient) -> None:
    first = await posted(client, "/api/v2/jobs", URL)
    again = await posted(client, "/api/v2/jobs", URL)
    other = await posted(client, "/api/v2/jobs", "https://other.example/")
    assert first.json()["id"] == again.json()["id"]
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reuse")
