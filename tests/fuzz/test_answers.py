# Whatever a ComfyUI answers, each method of the backend returns a value of its types in bounded
# time, and the log can hold it. The connections are real; answers are JSON of any shape, ComfyUI's
# own shapes with anything in any place, broken bytes, and headers that lie.

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle

import anyio
import pytest
from anyio.from_thread import BlockingPortal
from hypothesis import strategies as st

from everfold.runner.backend import (
    Absent,
    Accepted,
    Ambiguous,
    Attempt,
    Ended,
    Load,
    Pending,
    Rejected,
    Running,
    SubmitOutcome,
    Truth,
    Unreachable,
)
from everfold.runner.comfyui import ComfyBackend
from everfold.streams.events.codec import Unreadable, decode, encode
from everfold.streams.events.event import Event, Failed, Queued, Succeeded
from tests.comfyui.hostile.raw_server import Exchange, raw_server
from tests.comfyui.hostile.test_loose_json import JSON_VALUES
from tests.fuzz.cases import fuzz

P = "d984aab4-3a3b-4f2d-af1c-10b365b79190"
ATTEMPT = Attempt(job_id="job-1", number=1, prompt_id=P, client_id="client-1")
WORKFLOW = b'{"1": {"class_type": "EmptyImage", "inputs": {}}}'

LARGEST_MS = 253_402_300_799_999

ODD = (
    JSON_VALUES
    | st.sampled_from([10**400, -(10**30), 1e308, -0.0, P, "q", "\x00", "\u202e", "x" * 5000])
    | st.just(json.loads("[" * 60 + "]" * 60))
)
IDS = st.just(P) | st.just(P) | ODD
ITEMS = st.tuples(ODD, IDS, ODD, ODD, st.just(["1"]) | ODD).map(list) | ODD
QUEUES = st.fixed_dictionaries(
    {"queue_running": st.lists(ITEMS, max_size=2), "queue_pending": st.lists(ITEMS, max_size=2)}
)
DETAILS = ("timestamp", "prompt_id", "node_id", "exception_type", "exception_message")
MESSAGES = st.tuples(
    st.sampled_from(["execution_start", "execution_error", "execution_success", "x"]),
    st.fixed_dictionaries({}, optional=dict.fromkeys(DETAILS, ODD)),
).map(list)
STATUSES = st.fixed_dictionaries(
    {"status_str": st.sampled_from(["success", "error"]) | ODD},
    optional={"messages": st.lists(MESSAGES | ODD, max_size=3) | ODD, "completed": ODD},
)
ENTRIES = st.fixed_dictionaries(
    {}, optional={"prompt": ITEMS, "outputs": st.dictionaries(st.text(), ODD) | ODD}
).flatmap(lambda rest: STATUSES.map(lambda status: {**rest, "status": status}))
ERRORS = st.fixed_dictionaries(
    {"errors": st.lists(st.fixed_dictionaries({}, optional={"type": ODD, "message": ODD})) | ODD},
    optional={"class_type": ODD},
)
ACCEPTANCES = st.fixed_dictionaries(
    {"prompt_id": IDS, "number": ODD}, optional={"node_errors": st.dictionaries(st.text(), ERRORS)}
)
REJECTIONS = st.fixed_dictionaries(
    {"error": st.fixed_dictionaries({"type": ODD, "message": ODD}) | ODD},
    optional={"node_errors": st.dictionaries(st.text(), ERRORS) | ODD},
)
SHAPES = (
    ODD | QUEUES | ENTRIES.map(lambda entry: {P: entry}) | ACCEPTANCES | REJECTIONS | st.just({})
)


def _broken(text: bytes, place: int, insertion: bytes) -> bytes:
    return text[: place % (len(text) + 1)] + insertion


WHOLE = SHAPES.map(lambda value: json.dumps(value).encode())
BODIES = WHOLE | WHOLE | st.builds(_broken, WHOLE, st.integers(0), st.binary(max_size=4))
HEADERS = (
    *(b"Content-Encoding: gzip", b"Content-Encoding: \xff", b"Content-Length: 3", b"Location: //"),
    *(b"Content-Length: -1", b"Content-Length: 99999", b"Transfer-Encoding: chunked", b"x" * 9000),
    *(
        b"Content-Type: text/html; charset=\xff",
        b"Set-Cookie: a=\xb2; Max-Age=x",
        b": x",
        b"a\x00: b",
    ),
    *(b"Retry-After: \xb2", b"Date: x", b"ETag: x", b"Last-Modified: x", b"Connection: upgrade"),
)
STATUSES_SENT = st.sampled_from([200, 200, 200, 400, 404, 500, 204, 206, 302, 401, 100, 999])
ANSWERS = st.tuples(STATUSES_SENT, BODIES, st.just(b"") | st.just(b"") | st.sampled_from(HEADERS))
EMPTY_QUEUE = (200, b'{"queue_running": [], "queue_pending": []}')


Answer = tuple[int, bytes, bytes]
"""Status, body and one header."""


@fuzz(few=60, answers=st.lists(ANSWERS, min_size=1, max_size=4), is_idle=st.booleans())
def test_each_method_returns_what_the_log_can_hold(
    portal: BlockingPortal, answers: list[Answer], is_idle: bool
) -> None:
    portal.call(_ask_in_time, cycle(answers), is_idle)


async def _ask_in_time(answers: Iterator[Answer], is_idle: bool) -> None:
    with anyio.fail_after(60):
        await _ask_everything(answers, is_idle)


async def _ask_everything(answers: Iterator[Answer], is_idle: bool) -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        is_queue = exchange.received.startswith(b"GET /queue")
        status, body, header = (*EMPTY_QUEUE, b"") if is_idle and is_queue else next(answers)
        with suppress(anyio.BrokenResourceError):
            ends = header and header + b"\r\n"
            await exchange.answer(status, body, ends + b"Connection: close\r\n")

    async with raw_server(serve) as server:
        backend = ComfyBackend(server.url, timeout_s=5.0, submit_timeout_s=5.0)
        assert isinstance(await backend.load(), Load | Unreachable)
        assert isinstance(await backend.boot(), str | Unreachable)
        assert isinstance(await backend.server(), str | Unreachable)
        _check_truth(await backend.truth(P, "boot-1", "server-1"))
        _check_outcome(await backend.submit(ATTEMPT, WORKFLOW, lambda: True))
        await backend.cancel(ATTEMPT)
        await backend.aclose()


def _check_truth(truth: Truth) -> None:
    assert isinstance(truth, Running | Pending | Ended | Absent | Unreachable)
    if isinstance(truth, Ended):
        times = (truth.started_at_ms, truth.ended_at_ms)
        assert all(time is None or 0 <= time <= LARGEST_MS for time in times)
        started_at_ms, ended_at_ms = times
        event: Event = Succeeded(
            attempt=1, outputs=truth.outputs, started_at_ms=started_at_ms, ended_at_ms=ended_at_ms
        )
        _check_event(event)
        if truth.failure is not None:
            _check_event(Failed(attempt=1, failure=truth.failure, outputs=truth.outputs))


def _check_outcome(outcome: SubmitOutcome) -> None:
    assert isinstance(outcome, Accepted | Rejected | Ambiguous)
    if isinstance(outcome, Accepted):
        number, problems = outcome.number, outcome.problems
        _check_event(Queued(attempt=1, prompt_id=P, number=number, problems=problems))
    if isinstance(outcome, Rejected):
        _check_event(Failed(attempt=1, failure=outcome.failure))


def _check_event(event: Event) -> None:
    assert not isinstance(decode(encode(event)), Unreadable)


@pytest.mark.anyio
async def test_names_of_any_length_fit_into_an_event() -> None:
    """The names of nodes and classes are no outputs, which are shortened."""
    name = "n" * 1_200_000
    error = {"type": name, "message": name, "extra_info": {"input_name": name}}
    rejection = {"error": {"type": name, "message": name}, "node_errors": {name: {}}}
    rejection["node_errors"] = {name: {"class_type": name, "errors": [error]}}
    details = {"node_id": name, "node_type": name, "exception_type": name, "prompt_id": P}
    status = {"status_str": "error", "messages": [["execution_error", details]]}

    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        bodies = {b"GET /queue": EMPTY_QUEUE[1], b"POST /promp": json.dumps(rejection).encode()}
        history = json.dumps({P: {"status": status}}).encode()
        is_post = exchange.received.startswith(b"POST")
        body = bodies.get(exchange.received[: 11 if is_post else 10], history)
        await exchange.answer(400 if is_post else 200, body, b"Connection: close\r\n")

    async with raw_server(serve) as server:
        backend = ComfyBackend(server.url)
        outcome = await backend.submit(ATTEMPT, WORKFLOW, lambda: True)
        truth = await backend.truth(P, "boot-1")
        await backend.aclose()
    assert isinstance(outcome, Rejected)
    assert isinstance(truth, Ended)
    _check_outcome(outcome)
    _check_truth(truth)
