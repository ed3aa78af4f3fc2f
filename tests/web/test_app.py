"""The application as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import json

import httpx
import pytest

from tests.web.fuzz.hostile import HostileRequest
from tests.web.fuzz.wire import send
from tests.web.site import Site

pytestmark = pytest.mark.anyio


async def test_the_process_answers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/livez")

    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_a_large_body_that_comes_at_once_is_no_head(client: httpx.AsyncClient) -> None:
    answers = [await client.post("/api/v2/jobs", content=b"[" * 200_000) for _ in range(2)]

    assert [one.status_code for one in answers] == [400, 400]
    assert "nested" in answers[0].text


async def test_a_request_for_a_websocket_with_a_body_is_refused_at_once(site: Site) -> None:
    head = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    sent = f"{head}Content-Length: 2\r\n\r\n{{}}".encode()

    answer = await send(site.url, HostileRequest("socket", sent))

    assert answer.status == 400


async def test_a_request_for_a_websocket_with_a_long_line_is_refused_at_once(site: Site) -> None:
    head = "Host: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    for long in (f"GET /ws?a={'x' * 9000} HTTP/1.1\r\n{head}\r\n",
                 f"GET /ws HTTP/1.1\r\n{head}X-A: {'x' * 9000}\r\n\r\n"):  # fmt: skip
        answer = await send(site.url, HostileRequest("socket", long.encode()))

        assert answer.status == 431


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("BREW / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (f"GET / HTTP/1.1\r\nX-A: {'x' * 70_000}\r\n\r\n", 431),
    ],
)
async def test_what_is_no_request_is_refused_as_all_else(
    site: Site, sent: str, status: int
) -> None:
    answer = await send(site.url, HostileRequest("wire", sent.encode()))

    assert answer.status == status
    assert "content-type: application/json" in answer.head
    assert len(json.loads(answer.body)["error"]["message"]) > 8


@pytest.mark.parametrize("endless", [b"X-A: b\r\n", b"x"], ids=["lines", "line"])
@pytest.mark.parametrize("before", [b"2\r\n{}\r\n0\r\n", b"2;"], ids=["trailers", "extension"])
async def test_what_is_neither_head_nor_body_has_a_bound(
    site: Site, before: bytes, endless: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.split(":")[-1]))
    head = b"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head + before + (b"X" if endless == b"x" else b""))
    with contextlib.suppress(ConnectionError):
        for _ in range(400):
            writer.write(endless * (10_000 // len(endless)))
            await writer.drain()
        async with asyncio.timeout(10):
            await reader.read()
    writer.close()


@pytest.mark.parametrize("path", ["/queue", "/api/v2/jobs", "/everfold/v1/x", "/a%0Ab"])
async def test_a_websocket_at_another_path_is_refused_as_all_else(site: Site, path: str) -> None:
    head = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    answer = await send(site.url, HostileRequest("socket", head.encode()))

    assert answer.status == 404
    assert "content-type: application/json" in answer.head.lower()
    assert "only at /ws" in json.loads(answer.body)["error"]["message"]
