"""A server for one measurement: new, embedded, its append-only file on but not rewritten."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from everfold.embedded import embedded_server
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import connect


@asynccontextmanager
async def bench_server() -> AsyncIterator[tuple[str, Path]]:
    """Yield its URL and a folder; a rewrite of the file would fall on one of the two sides."""
    with tempfile.TemporaryDirectory(prefix="everfold-bench-") as name:
        async with embedded_server(Path(name) / "data") as server:
            redis = connect(server.url)
            await command(redis, "CONFIG SET", "auto-aof-rewrite-percentage", 0)
            await redis.aclose()
            yield server.url, Path(name)
