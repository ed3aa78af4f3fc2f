"""Bytes as a caller gives them, as one stream: bytes, a file, or a stream of its own."""

from __future__ import annotations

import stat
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread

from everfold.streams.assets.blob_store import CHUNK_BYTES
from everfold.streams.errors import InvalidName


async def stream_of(source: AsyncIterator[bytes] | bytes | Path) -> AsyncGenerator[bytes, None]:
    """Yield all bytes of a source. Raises InvalidName for a path that is no readable file."""
    if isinstance(source, bytes | bytearray | memoryview):
        view = memoryview(source)
        for start in range(0, len(view), CHUNK_BYTES):
            yield bytes(view[start : start + CHUNK_BYTES])
    elif isinstance(source, Path):
        async with await _opened(source) as file:
            while chunk := await file.read(CHUNK_BYTES):
                yield chunk
    elif isinstance(source, AsyncIterator):
        async for chunk in source:
            yield chunk
    else:
        raise InvalidName("source", source, "pass bytes, a Path, or an async iterator of bytes")


async def _opened(path: Path) -> anyio.AsyncFile[bytes]:
    try:
        # Not opened first: a pipe would keep the reader waiting.
        found = await anyio.to_thread.run_sync(path.stat)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidName("file", str(path), "it is no regular file")
        return await anyio.open_file(path, "rb")
    except OSError as error:
        raise InvalidName("file", str(path), f"{error.strerror or error}") from error
