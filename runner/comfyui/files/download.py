"""One file of a server over `/view`, as it comes: whole, at a least rate, or not at all.

Rule: a body counts only where the server said its length and has sent exactly that. Trouble is an
`Unreachable` before the first byte, and a DownloadBroken after it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime

import anyio
import httpx
from msgspec import Struct

from everfold.runner.backend import (
    DownloadBroken,
    OutputAnswer,
    OutputBody,
    OutputFile,
    OutputGone,
    Unreachable,
)
from everfold.runner.comfyui.http import ComfyHttp, explain, refuse_compressed

SILENCE_S = 30.0
"""Longest silence before the first byte, and between two."""
LEAST_RATE = 64 * 1024
"""Bytes per second that a file has on average, beyond the first SILENCE_S: a server that trickles
would hold a place for ever."""

BLOCK_BYTES = 512 * 1024
"""What is handed on at once: each block takes time on its way, whatever its size."""
LENGTH_DIGITS = 15

PAGE_ENDINGS = (".html", ".htm")

GONE = (400, 404)
"""What ComfyUI answers for a file that it does not have, and for a name that it cannot have."""


class Download(Struct, frozen=True):
    """What the server answers when it is asked for a file."""

    answer: OutputAnswer
    modified_ms: int | None = None
    """When the file was written, by the server's clock; None where it does not say so."""


@asynccontextmanager
async def download(http: ComfyHttp, file: OutputFile) -> AsyncIterator[Download]:
    """Ask for a file. The body is read within the context; what is left of it is dropped."""
    response: httpx.Response | None = None
    try:
        response = await http.begin_view(file, SILENCE_S)
        found = Download(_answer(response, file), _modified_ms(response))
    except Exception as error:
        found = Download(Unreachable(f"GET /view: {explain(error)}"))
    try:
        yield found
    finally:
        if response is not None:
            with anyio.CancelScope(shield=True):
                await response.aclose()


def _answer(response: httpx.Response, file: OutputFile) -> OutputAnswer:
    if response.status_code in GONE:
        return OutputGone()
    if response.status_code != 200:
        return Unreachable(f"GET /view answered {response.status_code}")
    if _is_page(response) and not file.filename.lower().endswith(PAGE_ENDINGS):
        return Unreachable("GET /view answered with a web page")
    refuse_compressed(response)
    length = response.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit()) or len(length) > LENGTH_DIGITS:
        return Unreachable("GET /view did not say how long the file is")
    return OutputBody(int(length), _chunks(response, int(length)))


def _modified_ms(response: httpx.Response) -> int | None:
    """Return what `Last-Modified` says, which has whole seconds."""
    try:
        told = parsedate_to_datetime(response.headers.get("Last-Modified", ""))
        return int(told.replace(tzinfo=told.tzinfo or UTC).timestamp()) * 1000
    except (ValueError, TypeError, OverflowError):
        return None


def _is_page(response: httpx.Response) -> bool:
    """Say whether a web page came: a proxy that asks for a password, or says that it is busy.

    ComfyUI itself sends no file as one.
    """
    media_type: str = response.headers.get("Content-Type", "")
    return media_type.strip().lower().startswith("text/html")


async def _chunks(response: httpx.Response, size_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body in blocks. Only the time that the server takes counts, not that of the reader.

    The client itself ends each silence.
    """
    received, handed_on, waited_s, block = 0, 0, 0.0, list[bytes]()
    chunks = response.aiter_raw()
    while True:
        asked_at_s = time.monotonic()
        try:
            chunk = await anext(chunks, b"")
        except Exception as error:
            raise DownloadBroken(f"GET /view, after {received} bytes: {explain(error)}") from error
        waited_s += time.monotonic() - asked_at_s
        received += len(chunk)
        if waited_s > SILENCE_S + received / LEAST_RATE:
            raise DownloadBroken(f"GET /view is too slow: {received} bytes in {waited_s:.0f} s")
        block.append(chunk)
        if received - handed_on >= BLOCK_BYTES or (not chunk and received > handed_on):
            handed_on = received
            yield b"".join(block)
            block.clear()
        if not chunk:
            break
    if received != size_bytes:
        raise DownloadBroken(f"GET /view brought {received} of {size_bytes} bytes")
