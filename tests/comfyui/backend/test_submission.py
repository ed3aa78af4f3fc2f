"""One POST, and what each way it can end means."""

from __future__ import annotations

import json

import anyio
import pytest

from everfold.runner.backend import (
    Accepted,
    Ambiguous,
    Attempt,
    Rejected,
    Running,
    SubmitOutcome,
    Withheld,
)
from everfold.runner.comfyui import ComfyBackend
from tests.comfyui.hostile.raw_server import Exchange, raw_server

pytestmark = pytest.mark.anyio

ATTEMPT = Attempt(
    job_id="job-1",
    number=2,
    prompt_id="d984aab4-3a3b-4f2d-af1c-10b365b79190",
    client_id="client-1",
)
WORKFLOW = b'{"1": {"class_type": "EmptyImage", "inputs": {}}}'
ACCEPTANCE = json.dumps({"prompt_id": ATTEMPT.prompt_id, "number": 7, "node_errors": {}}).encode()


def yes() -> bool:
    return True


async def submit(
    url: str, workflow: bytes = WORKFLOW, may_send: object = yes, timeout_s: float = 5.0
) -> SubmitOutcome:
    assert callable(may_send)
    backend = ComfyBackend(url, submit_timeout_s=timeout_s)
    try:
        return await backend.submit(ATTEMPT, workflow, may_send)
    finally:
        await backend.aclose()


async def test_the_request_carries_the_attempt_and_no_number() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        await exchange.answer(200, ACCEPTANCE)

    async with raw_server(serve) as server:
        assert await submit(server.url) == Accepted(7, [])
        (exchange,) = server.exchanges
    assert json.loads(exchange.body) == {
        "prompt": json.loads(WORKFLOW),
        "prompt_id": ATTEMPT.prompt_id,
        "client_id": "client-1",
        "extra_data": {"everfold": {"job_id": "job-1", "attempt": 2}},
    }
    assert exchange.received.startswith(b"POST /prompt HTTP/1.1\r\n")
    assert b"transfer-encoding" not in exchange.received.lower()
    assert b"origin:" not in exchange.received.lower()


async def test_each_submit_opens_a_connection_of_its_own() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        await exchange.answer(200, ACCEPTANCE)
        await anyio.sleep_forever()

    async with raw_server(serve) as server:
        backend = ComfyBackend(server.url)
        for _ in range(2):
            assert isinstance(await backend.submit(ATTEMPT, WORKFLOW, yes), Accepted)
        await backend.aclose()
        assert len(server.exchanges) == 2


async def test_a_no_at_the_last_byte_leaves_the_body_one_byte_short() -> None:
    asked: list[bool] = []
    seen = anyio.Event()

    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        seen.set()

    def no() -> bool:
        asked.append(True)
        return False

    async with raw_server(serve) as server:
        outcome = await submit(server.url, may_send=no)
        with anyio.fail_after(5):
            await seen.wait()
        (exchange,) = server.exchanges
    assert isinstance(outcome, Withheld)
    assert asked == [True]
    assert exchange.is_cut
    length = int(exchange.received.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    assert len(exchange.body) == length - 1


async def test_a_refused_connection_withholds(unused_tcp_port: int) -> None:
    outcome = await submit(f"http://127.0.0.1:{unused_tcp_port}")
    assert isinstance(outcome, Withheld)
    assert "ConnectError" in outcome.why


async def test_a_connection_lost_within_the_body_withholds() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_head()

    big = b'{"1":{"class_type":"X","inputs":{"text":"%b"}}}' % (b"x" * 2**24)
    async with raw_server(serve) as server:
        assert isinstance(await submit(server.url, big), Withheld)
        assert len(server.exchanges) == 1


async def test_an_answer_lost_after_the_whole_body_is_ambiguous() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()

    async with raw_server(serve) as server:
        assert isinstance(await submit(server.url), Ambiguous)
        assert len(server.exchanges) == 1


async def test_an_answer_that_never_comes_is_ambiguous() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        await anyio.sleep_forever()

    async with raw_server(serve) as server:
        assert isinstance(await submit(server.url, timeout_s=0.3), Ambiguous)
        assert len(server.exchanges) == 1


async def test_an_answer_that_trickles_for_ever_is_ambiguous() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        await exchange.stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while True:
            await exchange.stream.send(b" ")
            await anyio.sleep(0.01)

    async with raw_server(serve) as server:
        assert isinstance(await submit(server.url, timeout_s=0.3), Ambiguous)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b'{"prompt_id": "another", "number": 1}', Ambiguous),
        (200, b"<html>welcome</html>", Ambiguous),
        (400, b'{"error": {"type": "prompt_no_outputs"}, "node_errors": {}}', Rejected),
        (400, b"not json", Ambiguous),
        (400, b'{"error": {"message": "bad request"}}', Ambiguous),
        (400, b'{"error": "no prompt", "node_errors": []}', Rejected),
        (400, b'{"error": {"type": "invalid_prompt_id", "message": "no UUID"}}', Rejected),
        (422, b'{"error": {"type": "prompt_no_outputs"}, "node_errors": {}}', Ambiguous),
        (413, b"", Rejected),
        (500, b"Server got itself in trouble", Ambiguous),
        (502, b"", Ambiguous),
        (504, b"", Ambiguous),
    ],
)
async def test_each_status_means_one_thing_and_is_never_tried_again(
    status: int, body: bytes, outcome: type[SubmitOutcome]
) -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        await exchange.answer(status, body, b"Location: /elsewhere\r\n" if status == 301 else b"")

    async with raw_server(serve) as server:
        assert type(await submit(server.url)) is outcome
        posts = [one for one in server.exchanges if one.received.startswith(b"POST /prompt ")]
        assert len(posts) == 1


PROVE_NOTHING = [
    *(201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 407, 408),
    *(409, 410, 418, 422, 425, 426, 429, 431, 451, 499, 500, 501, 502, 503, 504, 511, 520, 599),
]


@pytest.mark.parametrize("status", PROVE_NOTHING)
async def test_a_gateway_that_forwards_and_answers_otherwise_never_runs_a_prompt_twice(
    status: int,
) -> None:
    """The prompt was queued behind the answer: the truth finds it, and nothing is sent again."""
    executed: list[str] = []

    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        close = b"Connection: close\r\n"
        if exchange.received.startswith(b"POST /prompt"):
            executed.append(json.loads(exchange.body)["prompt_id"])
            await exchange.answer(status, b"", close + b"Location: javascript:1\r\n")
        else:
            running = [[0, prompt_id, {}, {}, []] for prompt_id in executed]
            body = {"queue_running": running, "queue_pending": []}
            await exchange.answer(200, json.dumps(body).encode(), close)

    async with raw_server(serve) as server:
        backend = ComfyBackend(server.url)
        outcome = await backend.submit(ATTEMPT, WORKFLOW, yes)
        truth = await backend.truth(ATTEMPT.prompt_id, "")
        await backend.aclose()
    assert isinstance(outcome, Ambiguous)
    assert str(status) in outcome.why
    asked = 300 <= status < 400 or status in (401, 402, 403, 404, 405, 407, 410, 429, 451)
    assert outcome.refuses is (asked or status >= 500)
    assert truth == Running()
    assert executed == [ATTEMPT.prompt_id]


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_refusal_before_the_last_byte_withholds_with_its_reason(status: int) -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_head()
        await exchange.answer(status, b"come back later", b"Connection: close\r\n")

    big = b'{"1":{"class_type":"X","inputs":{"text":"%b"}}}' % (b"x" * 2**24)
    async with raw_server(serve) as server:
        outcome = await submit(server.url, big)
    assert isinstance(outcome, Withheld)
    if str(status) in outcome.why:  # the answer may be lost with the connection
        assert outcome.refuses


@pytest.mark.parametrize(
    ("body", "of_server"),
    [
        ({"error": {"type": "missing_node_type"}, "node_errors": {}}, True),
        (
            {
                "error": {
                    "type": "invalid_prompt",
                    "message": "Cannot execute because node NoSuchNode does not exist.",
                },
                "node_errors": {},
            },
            True,
        ),
        (
            {
                "error": {"type": "prompt_outputs_failed_validation"},
                "node_errors": {"1": {"errors": [{"type": "value_not_in_list"}]}},
            },
            True,
        ),
        (
            {
                "error": {"type": "prompt_outputs_failed_validation"},
                "node_errors": {
                    "1": {"errors": [{"type": "value_not_in_list"}]},
                    "2": {"errors": [{"type": "required_input_missing"}]},
                },
            },
            False,
        ),
        ({"error": {"type": "prompt_no_outputs"}, "node_errors": {}}, False),
    ],
)
async def test_a_refusal_tells_whether_it_speaks_of_the_server(
    body: object, of_server: bool
) -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        await exchange.answer(400, json.dumps(body).encode())

    async with raw_server(serve) as server:
        outcome = await submit(server.url)
    assert isinstance(outcome, Rejected)
    assert outcome.of_server is of_server


async def test_dropped_outputs_are_told_with_the_acceptance() -> None:
    errors = {"3": {"errors": [{"type": "t", "message": "m"}], "class_type": "X"}}
    body = {"prompt_id": ATTEMPT.prompt_id, "number": 7, "node_errors": errors}

    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        await exchange.answer(200, json.dumps(body).encode())

    async with raw_server(serve) as server:
        outcome = await submit(server.url)
    assert isinstance(outcome, Accepted)
    assert [problem.node for problem in outcome.problems] == ["3"]


@pytest.mark.parametrize("workflow", [b"", b"{not json", b"[]", b'{},"number":1', b"null"])
async def test_what_is_no_graph_is_rejected_without_asking(
    workflow: bytes, unused_tcp_port: int
) -> None:
    outcome = await submit(f"http://127.0.0.1:{unused_tcp_port}", workflow)
    assert isinstance(outcome, Rejected)
    assert outcome.failure.code == "invalid_workflow"
