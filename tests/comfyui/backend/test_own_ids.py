"""A server that queues prompts under ids of its own: they are taken back, and it gets no more."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from everfold.runner.backend import Ambiguous, Attempt, Load, Unreachable
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.comfyui.http import Answer
from everfold.runner.comfyui.submission import read_outcome
from tests.comfyui.hostile.raw_server import Exchange, raw_server

pytestmark = pytest.mark.anyio

P, OTHER = "d984aab4-3a3b-4f2d-af1c-10b365b79190", "f8cb288c-7a3c-4a38-9957-b606f1410ac4"
ATTEMPT = Attempt(job_id="job-1", number=1, prompt_id=P, client_id="client-1")
WHY = "it ignores the prompt_id; Everfold needs ComfyUI 0.3.45 or newer"


class OwnIds:
    """Accepts each prompt under `given`, which runs at once, or waits behind another one."""

    def __init__(self, given: object = OTHER, *, runs: bool = True) -> None:
        self.given, self.runs = given, runs
        self.has_prompt = False
        self.asked = list[tuple[str, object]]()
        """Path and body of what was sent to the queue and to the interrupt."""
        self.files = dict[str, bytes]()
        self.url = ""

    async def serve(self, exchange: Exchange) -> None:
        await exchange.read_request()
        method, path = exchange.received.split(b" ")[:2]
        route = (method + b" " + path.partition(b"?")[0]).decode()
        status, body = self._answer(route, exchange)
        await exchange.answer(status, body, b"Connection: close\r\n")

    def _answer(self, route: str, exchange: Exchange) -> tuple[int, bytes]:
        match route:
            case "POST /prompt":
                self.has_prompt = True
                return 200, json.dumps({"prompt_id": self.given, "number": 1}).encode()
            case "GET /queue":
                item = [0, self.given if self.has_prompt else "b", {}, {}, []]
                kinds = "queue_running", "queue_pending"
                queue = dict(zip(kinds if self.runs else kinds[::-1], ([item], []), strict=True))
                return 200, json.dumps(queue).encode()
            case "POST /queue" | "POST /interrupt":
                self.asked.append((route.partition("/")[2], json.loads(exchange.body)))
                return 200, b""
            case "POST /upload/image":
                marker = exchange.body.partition(b'filename="')[2].partition(b'"')[0].decode()
                self.files[marker] = marker.removesuffix(".txt").encode()
                return 200, b"{}"
            case "GET /view":
                name = exchange.received.partition(b"filename=")[2].partition(b"&")[0].decode()
                return (200, self.files[name]) if name in self.files else (404, b"")
        return 200, b"{}"


@asynccontextmanager
async def backend_of(server: OwnIds) -> AsyncIterator[ComfyBackend]:
    async with raw_server(server.serve) as raw:
        backend = ComfyBackend(raw.url)
        assert isinstance(await backend.boot(), str)
        yield backend
        await backend.aclose()


def told(body: object) -> Ambiguous:
    outcome = read_outcome(Answer(200, json.dumps(body).encode()), P)
    assert isinstance(outcome, Ambiguous)
    return outcome


def test_a_prompt_id_that_is_another_text_is_a_refusal_with_its_reason() -> None:
    assert WHY in told({"prompt_id": OTHER, "number": 1}).why
    assert told({"prompt_id": OTHER}).refuses
    others: tuple[object, ...] = (None, 7, [], {}, True)
    for other in others:
        assert not told({"prompt_id": other}).refuses
    assert not told({}).refuses


@pytest.mark.parametrize("runs", [True, False])
async def test_what_was_queued_under_another_id_is_deleted_or_interrupted(runs: bool) -> None:
    server = OwnIds(runs=runs)
    async with backend_of(server) as backend:
        outcome = await backend.submit(ATTEMPT, b"{}", lambda: True)
    assert isinstance(outcome, Ambiguous)
    assert outcome.refuses
    assert WHY in outcome.why
    interrupts = [("interrupt", {"prompt_id": OTHER})] if runs else []
    assert server.asked == [("queue", {"delete": [OTHER]}), *interrupts]


async def test_it_is_out_of_service_with_the_reason_until_its_boot_changes() -> None:
    server = OwnIds()
    async with backend_of(server) as backend:
        assert isinstance(await backend.load(), Load)
        await backend.submit(ATTEMPT, b"{}", lambda: True)
        for _ in range(2):
            assert await backend.load() == Unreachable(WHY, refuses=True)
        server.files.clear()  # as at every start
        assert isinstance(await backend.load(), Load)


@pytest.mark.parametrize("given", ["", "x" * 201, "x" * 2_000_000])
async def test_what_is_no_id_is_not_sent_back(given: str) -> None:
    server = OwnIds(given)
    async with backend_of(server) as backend:
        outcome = await backend.submit(ATTEMPT, b"{}", lambda: True)
    assert isinstance(outcome, Ambiguous)
    assert outcome.refuses
    assert len(outcome.why) < 1000
    assert server.asked == []


async def test_a_prompt_that_is_another_job_of_this_runner_is_not_stopped() -> None:
    server = OwnIds()
    other = Attempt(job_id="job-2", number=1, prompt_id=OTHER, client_id="client-2")
    async with backend_of(server) as backend, backend.observe(other, b"{}"):
        outcome = await backend.submit(ATTEMPT, b"{}", lambda: True)
    assert isinstance(outcome, Ambiguous)
    assert server.asked == []
