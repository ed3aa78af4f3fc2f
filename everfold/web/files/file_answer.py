"""Answers with the bytes of a file: whole or in part, and safe to open in a browser.

Rule: bytes come from strangers. They are shown as what they were found to be, never as a page that
could run anything; a name can break no header.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from urllib.parse import quote

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from everfold.assets.saving import checked_bytes
from everfold.streams.assets.asset import safe_name
from everfold.streams.assets.asset_store import AssetStore
from everfold.web.files.byte_ranges import Part, Unsatisfiable, names_etag, part_of
from everfold.web.problem import Problem
from everfold.web.streamed import Streamed

SHOWN = ("image/", "video/", "audio/")
"""Media types that a browser shows in its window; it is asked to save all others."""
NOT_SHOWN = ("image/svg",)

Open = Callable[[Part | None], AsyncGenerator[bytes, None]]
"""Yields a part of the bytes, or for None all of them, checked."""


class File(Struct, frozen=True):
    """A file that may be asked for."""

    name: str
    media_type: str
    size_bytes: int
    hash: str
    open: Open


async def file_answer(request: Request, file: File) -> Response:
    """Return the answer to a GET or HEAD: 200, 206, 304. Raises Problem 416, and as `open` does."""
    etag = f'"{file.hash}"'
    headers = {**_headers(file), "ETag": etag, "Accept-Ranges": "bytes"}
    if names_etag(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    asked, if_range = request.headers.get("range"), request.headers.get("if-range")
    try:
        part = part_of(asked, file.size_bytes, if_range=if_range, etag=etag)
    except Unsatisfiable:
        told = {"Content-Range": f"bytes */{file.size_bytes}"}
        why = f"the file has {file.size_bytes:,} bytes"
        raise Problem(416, "range_not_satisfiable", why, headers=told) from None
    length = file.size_bytes if part is None else part.end - part.start
    headers["Content-Length"] = str(length)
    if part is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{file.size_bytes}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return Streamed(await _begun(file.open(part)), status, headers)


def stored_bytes(store: AssetStore, content_hash: str) -> Open:
    """Return what opens stored bytes."""

    def opened(part: Part | None) -> AsyncGenerator[bytes, None]:
        if part is None:
            return _one_behind(checked_bytes(store, content_hash))
        return _part(store, content_hash, part)

    return opened


def known_bytes(content: bytes) -> Open:
    """Return what opens bytes that are here."""

    async def opened(part: Part | None) -> AsyncGenerator[bytes, None]:
        yield content if part is None else content[part.start : part.end]

    return opened


async def _part(store: AssetStore, content_hash: str, part: Part) -> AsyncGenerator[bytes, None]:
    async with store.open(content_hash, part.start, part.end) as chunks:
        async for chunk in chunks:
            yield chunk


async def _one_behind(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the last chunk only when the check of all of them is over."""
    held = b""
    async for chunk in chunks:
        if held:
            yield held
        held = chunk
    yield held


async def _begun(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Read the first chunk now: what is wrong with a file is still told by the status then."""
    first = await anext(chunks, b"")

    async def all_chunks() -> AsyncGenerator[bytes, None]:
        try:
            yield first
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    return all_chunks()


def _headers(file: File) -> dict[str, str]:
    is_shown = file.media_type.startswith(SHOWN) and not file.media_type.startswith(NOT_SHOWN)
    name = safe_name(file.name)
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    way = "inline" if is_shown else "attachment"
    return {
        "Content-Type": file.media_type,
        "Content-Disposition": f"{way}; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, max-age=0",
    }
