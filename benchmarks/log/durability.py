"""What it costs that an acknowledged submit outlasts more: a disk, one replica, two replicas.

Rule: all servers are new, of one engine and on this machine, and the modes take turns in one run.
Beside all stands the plain one: its file is put on the disk every second, no replica is waited for.
Replicas on other machines add the time of the network to each write.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import anyio
from msgspec import Struct

from benchmarks.log.append import GRAPH, Percent
from benchmarks.measuring.table import Ratio, ratio
from everfold.embedded import embedded_server
from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import connect

CALLERS = 50
PLAIN = "everysec"


class Mode(Struct, frozen=True):
    """How a submit is kept."""

    fsync: str = PLAIN
    replicas: int = 0


MODES = {
    PLAIN: Mode(),
    "always": Mode(fsync="always"),
    "replicas=1": Mode(replicas=1),
    "replicas=2": Mode(replicas=2),
}


class DurabilityFigures(Struct, frozen=True):
    ratios: list[Ratio]
    single: dict[str, Percent]


async def measure_durability(submits: int, repeat: int) -> DurabilityFigures:
    rates: dict[str, list[float]] = {name: [] for name in MODES}
    single: dict[str, list[float]] = {name: [] for name in MODES}
    async with _servers() as urls:
        for _ in range(repeat):
            for name, mode in MODES.items():
                async with Log.open(urls[mode.fsync], replicas=mode.replicas) as log:
                    rates[name].append(await _rate(log, submits))
                    single[name] += await _times(log, submits // 20)
    ratios = [
        ratio(name, rates[name], rates[PLAIN], unit="submits/s", beside=PLAIN)
        for name in MODES
        if name != PLAIN
    ]
    return DurabilityFigures(ratios, {name: _percent(times) for name, times in single.items()})


@asynccontextmanager
async def _servers() -> AsyncIterator[dict[str, str]]:
    """Yield the URL for each mode of fsync: a primary with two replicas, and one without."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="everfold-bench-")))
        urls = list[str]()
        for name in ("primary", "always", "first", "second"):
            server = await stack.enter_async_context(embedded_server(folder / name))
            urls.append(server.url)
        primary, always, *replicas = urls
        port = await _listen(primary)
        await _send(always, "CONFIG SET", "appendfsync", "always")
        for one in replicas:
            await _send(one, "REPLICAOF", "127.0.0.1", port)
        with anyio.fail_after(30):
            while await _in_step(primary) < len(replicas):
                pass  # it has waited for a second
        yield {PLAIN: primary, "always": always}


async def _listen(url: str) -> int:
    """Let a server that has only a file of a socket listen on a port of this machine."""
    with anyio.fail_after(10):
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as probe:
            port = int(probe.extra(anyio.abc.SocketAttribute.local_port))
    await _send(url, "CONFIG SET", "bind", "127.0.0.1")
    await _send(url, "CONFIG SET", "port", port)
    return port


async def _in_step(url: str) -> int:
    redis = connect(url)
    try:
        answers = await redis.execute_together(("SET", "in step?", 1), ("WAIT", 2, 1000))
    finally:
        await redis.aclose()
    return cast("int", answers[1])


async def _send(url: str, *words: str | int) -> None:
    redis = connect(url)
    try:
        await command(redis, *words)
    finally:
        await redis.aclose()


async def _rate(log: Log, submits: int) -> float:
    async def submit_some() -> None:
        for _ in range(submits // CALLERS):
            await log.submit(GRAPH)

    began_s = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(CALLERS):
            tasks.start_soon(submit_some)
    return submits / (time.perf_counter() - began_s)


async def _times(log: Log, count: int) -> list[float]:
    """Return what single submits take, in seconds."""
    found, submit = list[float](), partial(log.submit, GRAPH)
    for _ in range(count):
        began_s = time.perf_counter()
        await submit()
        found.append(time.perf_counter() - began_s)
    return found


def _percent(times: list[float]) -> Percent:
    times = sorted(times)
    p50, p99 = (times[min(len(times) - 1, int(len(times) * share))] for share in (0.5, 0.99))
    return Percent(round(p50 * 1000, 3), round(p99 * 1000, 3))


def report(found: DurabilityFigures) -> str:
    times = [
        f"          single {name}: p50 {one.p50_ms:.3f} ms, p99 {one.p99_ms:.3f} ms"
        for name, one in found.single.items()
    ]
    return "\n".join([*map(str, found.ratios), *times])
