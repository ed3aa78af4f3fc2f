"""On what was measured: the machine, and the versions of what matters."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from benchmarks.measuring.server import bench_server
from everfold.streams.redis.server import connect, server_version


def machine() -> str:
    """Return processor, cores and memory in a line."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{_processor()}, {os.cpu_count()} cores, {memory_bytes / 2**30:.0f} GiB"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


async def versions() -> str:
    """Return the versions of Python, of the server that is measured with, and of its client."""
    async with bench_server() as (url, _):
        redis = connect(url)
        server = await server_version(redis)
        await redis.aclose()
    packages = ("redis", "hiredis", "msgspec")
    told = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    return f"{server}, Python {platform.python_version()}, {', '.join(told)}"
