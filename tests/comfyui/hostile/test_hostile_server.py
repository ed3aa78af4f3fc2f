"""A server that answers anything at all: each method returns, and claims nothing."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from everfold.runner.backend import Ambiguous, Attempt, Rejected, Unreachable
from everfold.runner.comfyui import ComfyBackend, http
from tests.comfyui.hostile.raw_server import Exchange, raw_server
from tests.comfyui.recordings.replay_server import until

pytestmark = pytest.mark.anyio

P = "d984aab4-3a3b-4f2d-af1c-10b365b79190"
ATTEMPT = Attempt(job_id="job-1", number=1, prompt_id=P, client_id="client-1")
WORKFLOW = b'{"1": {"class_type": "EmptyImage", "inputs": {}}}'

DEEP = b"[" * 100_000 + b"]" * 100_000
HUGE = b"1" + b"0" * 400
JSON_BODIES = [
    *(b"", b" ", b"null", b"true", b"0", HUGE, b"1e999", b"NaN", b'""', b"[]", b"[[]]", b"{", b"}"),
    *(b"\xff\xfe", b"\x00" * 100, b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b'"\\ud800"', DEEP),
    *(b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b"<html>login</html>", b"9" * 6000, b"-", b"{}{}"),
    *(b'{"error": "no"}', b'{"queue_running": []}', b'{"queue_running": {}, "queue_pending": {}}'),
]
EMPTY_OBJECTS = [b"\xef\xbb\xbf{}", "{}".encode("utf-16")]
NUMBERS = [HUGE, b"-" + HUGE, b'"1"', b"[]", b"{}", b"true", b"9" * 5000]
IDS = [b"5", b"null", b"[]", b"{}", b"true", HUGE]
ITEMS = [
    *(b'[%b, "x", {}, {}, []]' % number for number in NUMBERS),
    *(b"[1, %b, {}, {}, []]" % prompt_id for prompt_id in IDS),
    *(b'{"prompt_id": "%b", "number": 1}' % P.encode(), b"null", b"7", b'"x"', b"[]", b"[1]", DEEP),
]
QUEUES = [
    *(b'{"queue_running": [%b], "queue_pending": []}' % item for item in ITEMS),
    *(b'{"queue_running": [], "queue_pending": [%b]}' % item for item in ITEMS),
    *(b'{"queue_running": %b, "queue_pending": []}' % item for item in (b"0", b"null", b'""')),
]
HISTORIES = [
    *(b'{"%b": %b}' % (P.encode(), entry) for entry in (b"null", b"1", b"[]", b'"x"', HUGE)),
    *(b'{"other": {}}', b"[{}]", b'{"status": 401}'),
]
LOCATIONS = [
    *(b"javascript:1", b"http://xn--a/", b"http://[/", b"ws://h:99999/", b"wss:", b"//", b"\xff"),
    *(b"http://127.0.0.1:1/", b"file:///etc/passwd", b"http://a@b@c/", b"/" + b"x" * 9000, b"?"),
]
REDIRECTS = [300, 301, 302, 303, 305, 307, 308]
ENCODINGS = [b"gzip", b"br", b"deflate", b"zstd", b"x-unknown", b"gzip, gzip", b"GZIP"]

Answer = tuple[int, bytes, bytes]
"""Status, body and headers."""


def headers_of(name: bytes, value: bytes) -> bytes:
    return b"%b: %b\r\n" % (name, value)


ANSWERS: list[Answer] = [
    *((200, body, b"") for body in JSON_BODIES if body not in (b"{}",)),
    *((200, body, b"") for body in [*QUEUES, *HISTORIES]),
    *((status, b"", headers_of(b"Location", to)) for status in REDIRECTS for to in LOCATIONS),
    *((200, gzip.compress(b"{}"), headers_of(b"Content-Encoding", code)) for code in ENCODINGS),
    *((200, b"junk", headers_of(b"Content-Encoding", code)) for code in ENCODINGS),
    *((status, b"{}", b"") for status in (201, 204, 206, 299, 401, 403, 418, 429, 501, 503, 599)),
    (200, b"{", headers_of(b"Set-Cookie", b"a=" + b"x" * 4000)),
    (200, b"{", headers_of(b"Content-Type", b"text/html; charset=\xff")),
]


@asynccontextmanager
async def hostile(answer: Callable[[bytes], Answer]) -> AsyncIterator[ComfyBackend]:
    """A backend of a server that answers each request by its first line."""

    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        status, body, headers = answer(exchange.received)
        with anyio.move_on_after(5):
            await exchange.answer(status, body, headers + b"Connection: close\r\n")

    async with raw_server(serve) as server:
        backend = ComfyBackend(server.url, timeout_s=5.0, submit_timeout_s=5.0)
        yield backend
        await backend.aclose()


@pytest.mark.long
async def test_no_answer_makes_a_method_raise_or_claim_that_a_prompt_is_absent() -> None:
    assert len(ANSWERS) > 150
    current: Answer = (200, b"", b"")
    async with hostile(lambda _: current) as backend:
        for current in ANSWERS:
            told = current[0], current[1][:60], current[2][:60]
            assert isinstance(await backend.load(), Unreachable), told
            assert isinstance(await backend.truth(P, "boot-1"), Unreachable), told
            assert isinstance(await backend.boot(), Unreachable), told
            await backend.cancel(ATTEMPT)
            outcome = await backend.submit(ATTEMPT, WORKFLOW, lambda: True)
            assert isinstance(outcome, Ambiguous), told


async def test_no_history_makes_a_prompt_absent_but_an_empty_one() -> None:
    """The queue is sound and empty; the history and the boot marker are anything."""
    current: Answer = (200, b"", b"")
    queue = b'{"queue_running": [], "queue_pending": []}'

    def answer(request: bytes) -> Answer:
        return (200, queue, b"") if request.startswith(b"GET /queue") else current

    async with hostile(answer) as backend:
        for current in ANSWERS:
            if current[1] in EMPTY_OBJECTS:
                continue
            truth = await backend.truth(P, "boot-1")
            assert isinstance(truth, Unreachable), (current[0], current[1][:60], truth)


ODD_REJECTIONS: list[object] = [
    {"error": {"type": "x", "message": 10**400}, "node_errors": {"1": {"errors": [[], 1, None]}}},
    {"error": {"type": "x", "message": "m" * 100_000}, "node_errors": {"\n\x1b": "x"}},
    {"error": "e", "node_errors": 10**400},
]


async def test_an_odd_rejection_is_still_one() -> None:
    for body in ODD_REJECTIONS:
        encoded = json.dumps(body).encode()
        async with hostile(lambda _, encoded=encoded: (400, encoded, b"")) as backend:  # type: ignore[misc]
            outcome = await backend.submit(ATTEMPT, WORKFLOW, lambda: True)
        assert isinstance(outcome, Rejected)
        assert outcome.failure.message


@pytest.mark.parametrize("length", [b"", b"Content-Length: 4611686018427387904\r\n"])
async def test_an_endless_body_is_cut(length: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everfold.runner.comfyui.http.HISTORY_LIMIT_BYTES", 20 * 2**20)
    sent = 0

    async def serve(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.read_request()
        await exchange.stream.send(b"HTTP/1.1 200 X\r\n%bConnection: close\r\n\r\n" % length)
        with suppress(anyio.BrokenResourceError):
            while sent < 2**28:
                await exchange.stream.send(b" " * 2**16)
                sent += 2**16

    async with raw_server(serve) as server:
        backend = ComfyBackend(server.url, timeout_s=30.0)
        load = await backend.load()
        history = await backend.http.history(P)
        boot = await backend.boot()
        outcome = await backend.submit(ATTEMPT, WORKFLOW, lambda: True)
        await backend.aclose()
    assert isinstance(history, http.Answer)
    assert history.is_cut
    for unreachable in (load, boot):
        assert isinstance(unreachable, Unreachable)
        assert "larger than" in unreachable.why
    assert isinstance(outcome, Ambiguous)
    assert "larger than" in outcome.why
    assert sent < 2**28


FRAMES: list[bytes] = [
    b"\x81\x7f" + (2**62).to_bytes(8, "big") + b"x",  # a text of 2^62 bytes
    b"\x81\xff" + (2**64 - 1).to_bytes(8, "big"),
    b"\x01\x04abcd" * 1000,  # a text that begins again before it has ended
    b"\x81\x02\xff\xfe",  # no UTF-8
    b"\xf1\x00",  # reserved bits
    b"\x8f\x00",  # unknown opcode
    b"\x88\x01\x00",  # a close frame that is cut
    b"\x88\x02\x00\x00",
    b"\x89\x7e\xff\xff",  # a ping that is too long
    b"\x00" * 1000,
    b"HTTP/1.1 400 X\r\n\r\n",
    b"",
]


def upgrade(received: bytes) -> bytes:
    found = re.search(rb"sec-websocket-key: (\S+)", received, re.IGNORECASE)
    assert found is not None
    digest = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    head = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return head + b"Sec-WebSocket-Accept: %b\r\n\r\n" % base64.b64encode(digest)


async def test_no_frame_and_no_handshake_ends_the_observation() -> None:
    handshakes = [
        *(b"HTTP/1.1 %d X\r\nLocation: %b\r\n\r\n" % (302, to) for to in LOCATIONS),
        *(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status for status in (200, 401, 503)),
        b"HTTP/1.1 101 X\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"",
    ]
    for opening in [*handshakes, *FRAMES]:
        await observe_in_vain(opening, is_open=opening in FRAMES)


async def observe_in_vain(opening: bytes, *, is_open: bool) -> None:
    """Observe a server that sends `opening`, after the handshake if `is_open`, and hangs up."""

    async def serve(exchange: Exchange) -> None:
        await exchange.read_head()
        await exchange.stream.send((upgrade(exchange.received) if is_open else b"") + opening)

    async with raw_server(serve) as server:
        backend = ComfyBackend(server.url)
        async with backend.observe(ATTEMPT, WORKFLOW) as observation:
            await until(lambda: len(server.exchanges) >= 2, "it tries again")
            assert not (await observation.next(0.0)).started
        await backend.aclose()


async def test_a_websocket_follows_no_redirect() -> None:
    async def count(exchange: Exchange) -> None:
        await exchange.read_head()

    async with raw_server(count) as elsewhere:

        async def redirect(exchange: Exchange) -> None:
            await exchange.read_head()
            to = elsewhere.url.replace("http", "ws").encode()
            await exchange.answer(302, b"", b"Location: %b/ws\r\n" % to)

        async with raw_server(redirect) as server:
            backend = ComfyBackend(server.url.replace("//", "//user:word@"))
            async with backend.observe(ATTEMPT, WORKFLOW):
                await until(lambda: len(server.exchanges) >= 3, "it tries again")
            await backend.aclose()
        assert elsewhere.exchanges == []


async def test_nothing_is_unfolded_and_no_cookie_is_kept() -> None:
    bomb = gzip.compress(bytes(2**26))
    requests: list[bytes] = []

    def answer(request: bytes) -> Answer:
        requests.append(request)
        return 200, bomb, b"Content-Encoding: gzip\r\nSet-Cookie: a=b\r\n"

    async with hostile(answer) as backend:
        for _ in range(2):
            load = await backend.load()
            assert isinstance(load, Unreachable)
            assert "compressed" in load.why
    assert all(b"accept-encoding: identity" in request.lower() for request in requests)
    assert not any(b"\r\ncookie:" in request.lower() for request in requests)
