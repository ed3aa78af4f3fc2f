"""Wrong requests of all contracts: each is told what was wrong, where, and what to do."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.anyio

OWN, V2 = "/everfold/v1", "/api/v2"
GRAPH = '{"1": {"class_type": "SaveImage", "inputs": {}}}'

BAD: list[tuple[str, str, str | None, int, str]] = [
    ("GET", f"{OWN}/jobs?status=gone", None, 422, "choose one of queued, running"),
    ("GET", f"{OWN}/jobs?stauts=failed", None, 422, "did you mean status?"),
    ("GET", f"{OWN}/jobs?limit=many", None, 422, "use a whole number from 1 to 1,000"),
    ("GET", f"{OWN}/jobs?cursor=next", None, 422, "give back the one that came with the last page"),
    (
        "GET",
        f"{OWN}/jobs?newer_than=yesterday",
        None,
        422,
        "use a time such as 2026-01-31T12:00:00Z",
    ),
    ("GET", f"{OWN}/jobs/nobody", None, 404, "there is no job 'nobody' here"),
    ("GET", f"{OWN}/jobs/nobody/at?seq=1", None, 404, "there is no job 'nobody' here"),
    ("GET", f"{OWN}/jobs/nobody/at", None, 422, "give one point: seq, or time"),
    ("GET", f"{OWN}/jobs/nobody/why", None, 404, "there is no job 'nobody' here"),
    ("GET", f"{OWN}/jobs/nobody/events?after_seq=-1", None, 422, "use a whole number from 0"),
    ("GET", f"{OWN}/events/stream?after=here", None, 422, "give back the id of an event"),
    ("GET", f"{OWN}/nothing", None, 404, "there is nothing at this path"),
    ("DELETE", f"{OWN}/jobs", None, 405, "this path takes GET"),
    ("POST", f"{OWN}/jobs/nobody/cancel", "{", 400, "the body is no JSON"),
    ("POST", f"{OWN}/jobs/nobody/cancel", '{"why": "x"}', 422, "unknown field `why`"),
    ("POST", f"{OWN}/jobs/cancel", "[]", 422, "Expected `object`, got `array`"),
    (
        "POST",
        f"{OWN}/jobs/cancel",
        '{"filter": {}, "dryrun": false}',
        422,
        "unknown field `dryrun`",
    ),
    ("POST", f"{OWN}/jobs/nobody/priority", '{"priority": 1}', 422, "at `$.priority`"),
    ("POST", f"{OWN}/queues/nobody/pause", None, 404, "there is no queue 'nobody'; known: default"),
    (
        "PUT",
        f"{OWN}/limits",
        '{"what": "speed", "scope": "user", "name": "a", "number": 1}',
        422,
        "'speed' - at `$.what`",
    ),
    (
        "PUT",
        f"{OWN}/limits",
        '{"what": "share", "scope": "user", "name": "*", "number": 1}',
        422,
        "a share is one user's",
    ),
    ("DELETE", f"{OWN}/limits?what=running", None, 422, "the query lacks scope"),
    ("POST", f"{OWN}/backends/retire", '{"backend": "gpu9"}', 404, "there is no backend 'gpu9'"),
    ("POST", f"{OWN}/runners/nobody/drain", None, 404, "there is no runner 'nobody'"),
    (
        "POST",
        f"{OWN}/subscriptions/nobody/skip",
        '{"job_id": "a"}',
        404,
        "there is no subscription 'nobody'",
    ),
    ("GET", "/scale/nobody", None, 404, "there is no queue 'nobody'"),
    ("GET", f"{V2}/jobs/nobody", None, 404, "there is no job 'nobody' here"),
    ("GET", f"{V2}/jobs?limit=0", None, 400, "a whole number from 1 to 200"),
    ("GET", f"{V2}/nothing", None, 404, "there is nothing at this path"),
    ("POST", f"{V2}/jobs", "", 400, "the body is no JSON"),
    ("POST", f"{V2}/jobs", "{}", 422, "missing required field `workflow`"),
    ("POST", f"{V2}/jobs", '{"workflow": []}', 422, "Workflow > Export (API)"),
    ("POST", f"{V2}/jobs", '{"workflow": {"1": {}}}', 422, "node '1' has no `class_type`"),
    ("POST", f"{V2}/assets", "{}", 415, "send multipart/form-data"),
    ("POST", "/prompt", "", 400, "the body is no JSON"),
    ("POST", "/prompt", "{}", 400, "No prompt provided"),
    ("POST", "/prompt", '{"prompt": {}}', 400, "the workflow has no nodes"),
    (
        "POST",
        "/prompt",
        f'{{"prompt": {GRAPH}, "prompt_id": "x"}}',
        400,
        "The prompt_id is no canonical UUID",
    ),
    ("POST", "/queue", "[]", 400, "The body is no object"),
    ("GET", "/view?filename=../../etc/passwd", None, 400, "this names no file"),
    ("GET", "/api/jobs/nobody", None, 404, "Job not found"),
    ("POST", "/upload/image", "{}", 400, "send multipart/form-data"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "told"), BAD)
async def test_a_wrong_request_is_told_what_to_do(
    client: httpx.AsyncClient, method: str, path: str, body: str | None, status: int, told: str
) -> None:
    answer = await client.request(method, path, content=body)

    assert answer.status_code == status, answer.text
    assert told in answer.json()["error"]["message"]


EDITOR = '{"nodes": [], "links": [], "version": 0.4}'


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (GRAPH, 'the body is the graph itself: send {"prompt": GRAPH}'),
        (EDITOR, "Workflow > Export (API)"),
        (f'{{"prompt": {EDITOR}}}', "Workflow > Export (API)"),
    ],
)
async def test_what_is_sent_in_place_of_a_prompt_is_recognized(
    client: httpx.AsyncClient, body: str, told: str
) -> None:
    answer = await client.post("/prompt", content=body)

    assert answer.status_code == 400
    assert told in answer.json()["error"]["details"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/history/a%0Ab", 200),
        ("/history_v2/%0A", 200),
        ("/userdata/a%0Ab", 403),
        ("/api/v2/x%0Ay", 404),
        ("/templates/a%0Ab", 404),
        ("/a%0Ab", 404),
    ],
)
async def test_the_end_of_a_line_in_a_path_reaches_the_route_of_the_path(
    client: httpx.AsyncClient, path: str, status: int
) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.text == "Not Found") == (status, False), answer.text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/prompt", {"GET", "HEAD", "POST"}),
        ("PROPFIND", "/prompt", {"GET", "HEAD", "POST"}),
        ("PUT", "/api/queue", {"GET", "HEAD", "POST"}),
        ("POST", "/livez", {"GET", "HEAD"}),
        ("PATCH", "/login", {"GET", "HEAD", "POST"}),
        ("POST", "/console", {"GET", "HEAD"}),
        ("POST", "/nothing", {"GET", "HEAD"}),
        ("PROPFIND", "/everfold/v1/jobs", {"GET", "HEAD"}),
        ("PROPFIND", "/api/v2/jobs", {"GET", "HEAD", "POST"}),
    ],
)
async def test_a_method_that_a_path_does_not_take_is_refused_as_all_else(
    client: httpx.AsyncClient, method: str, path: str, allowed: set[str]
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == 405
    assert allowed <= set(answer.headers["allow"].split(", "))
    assert answer.headers["content-type"] == "application/json"
    assert "this path takes" in answer.json()["error"]["message"]
