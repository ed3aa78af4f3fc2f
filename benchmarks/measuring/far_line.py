"""A line to a server that is far away: every byte arrives late, and nothing else is changed.

Rule: what is under way does not hold up what follows, as on a real line; only its order stays.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

CHUNK_BYTES = 65536

Chunk = tuple[float, bytes]
"""When it arrives, as time.monotonic(), and what; no bytes at the end."""


@asynccontextmanager
async def far_line(url: str, round_trip_s: float) -> AsyncIterator[str]:
    """Yield the address of a server, `url` (redis:// or unix://), that is `round_trip_s` away."""
    target, half_s = urlsplit(url), round_trip_s / 2
    links = set[asyncio.Task[None]]()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.add(task := asyncio.ensure_future(_link(reader, writer)))
        task.add_done_callback(links.discard)

    async def _link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(round_trip_s)  # what it takes to open a connection
        with suppress(OSError):
            if target.scheme == "unix":
                far_reader, far_writer = await asyncio.open_unix_connection(target.path)
            else:
                host, port = target.hostname or "127.0.0.1", target.port or 6379
                far_reader, far_writer = await asyncio.open_connection(host, port)
            await asyncio.gather(
                _carry(reader, far_writer, half_s), _carry(far_reader, writer, half_s)
            )

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    try:
        path = "/0" if target.scheme == "unix" else target.path
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
    finally:
        server.close()
        for task in list(links):
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float
) -> None:
    under_way = asyncio.Queue[Chunk]()
    sending = asyncio.ensure_future(_deliver(under_way, writer))
    try:
        with suppress(OSError):
            while received := await reader.read(CHUNK_BYTES):
                under_way.put_nowait((time.monotonic() + delay_s, received))
        under_way.put_nowait((time.monotonic() + delay_s, b""))
        await sending
    finally:
        sending.cancel()


async def _deliver(under_way: asyncio.Queue[Chunk], writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while True:
            due_s, chunk = await under_way.get()
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            if not chunk:
                return writer.close()
            writer.write(chunk)
