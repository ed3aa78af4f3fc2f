"""A body that comes byte by byte ends: its request, what was stored of it, and its connection."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from everfold.web import bodies
from everfold.web.serving import bounded_protocol
from tests.support.wait import eventually
from tests.web.site import Site

pytestmark = pytest.mark.anyio


async def trickled(site: Site, path: str, first: bytes) -> bytes:
    """Send a body that never ends, but never pauses for long; return all that is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(site.url).port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n"
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + first)

    async def go_on() -> None:
        while True:
            await asyncio.sleep(0.05)
            writer.write(b"x")

    sending = asyncio.create_task(go_on())
    answer = b""
    try:
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                while chunk := await reader.read(65536):
                    answer += chunk
    finally:
        sending.cancel()
        writer.close()
    return answer


@pytest.mark.parametrize(("path", "part"), [("/upload/image", "image"), ("/api/v2/assets", "file")])
async def test_a_file_that_trickles_is_given_up_and_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, part: str
) -> None:
    monkeypatch.setattr(bodies, "SILENCE_S", 1.0)
    monkeypatch.setattr(bounded_protocol, "HEAD_WITHIN_S", 1.0)
    begins = f'--x\r\nContent-Disposition: form-data; name="{part}"; filename="a.png"\r\n\r\n'

    assert (await trickled(site, path, begins.encode())).startswith(b"HTTP/1.1 408")
    await eventually(lambda: not [one for one in tmp_path.rglob("*") if one.is_file()], 10)


async def test_what_is_answered_before_its_end_holds_no_connection(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_protocol, "HEAD_WITHIN_S", 1.0)

    assert (await trickled(site, "/prompt", b"")).startswith(b"HTTP/1.1 415")


async def test_one_whose_rest_comes_in_time_keeps_its_connection(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(site.url).port)
    head = "POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
    for _ in range(2):
        writer.write(head.encode() + b"ab")
        async with asyncio.timeout(10):
            assert b" 40" in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"cd")
            await reader.readuntil(b"}}")
    writer.close()
