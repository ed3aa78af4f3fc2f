"""How fast the archive is written, proved and read, beside plain gzip of the same bytes."""

from __future__ import annotations

import gzip
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
from msgspec import Struct

from benchmarks.measuring.history import write_history
from benchmarks.measuring.server import bench_server
from benchmarks.measuring.table import Ratio, ratio
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.archive.segment import LEVEL
from everfold.streams.retention.history import all_history

IN_FLIGHT = 200


class ArchiveFigures(Struct, frozen=True):
    ratios: list[Ratio]
    bytes_per_event: float
    """Of the archive, manifests included."""
    most_memory_bytes: int
    """Of the process, after everything."""


async def measure_archive(events: int, repeat: int) -> ArchiveFigures:
    write, prove, read, plain = list[float](), list[float](), list[float](), list[float]()
    size = 0
    async with bench_server() as (url, _), Log.open(url, namespace="archive") as log:
        await write_history(log, events, IN_FLIGHT)
        for _ in range(repeat):
            with tempfile.TemporaryDirectory(prefix="everfold-bench-") as name:
                archive = Archive(Folder(name))
                lines = await _lines(log)
                plain.append(await _rate(events, partial(_gzip, lines)))
                del lines
                write.append(await _rate(events, partial(_write, log, archive)))
                prove.append(await _rate(events, partial(_prove, log, Archive(archive.store))))
                read.append(await _rate(events, partial(_read, log, Archive(archive.store))))
                size = await anyio.to_thread.run_sync(_size, Path(name))
    beside = f"gzip -{LEVEL} of the same JSON"
    told = (("write", write), ("prove", prove), ("read all, merged by time", read))
    return ArchiveFigures(
        [ratio(name, ours, plain, unit="events/s", beside=beside) for name, ours in told],
        size / events,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


async def _rate(events: int, doing: Callable[[], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await doing()
    return events / (time.perf_counter() - started)


async def _lines(log: Log) -> bytes:
    return b"\n".join([record.payload async for record in all_history(log)])


async def _gzip(lines: bytes) -> None:
    gzip.compress(lines, compresslevel=LEVEL)


async def _write(log: Log, archive: Archive) -> None:
    await Archiver(log, archive).run(everything=True)


async def _prove(log: Log, archive: Archive) -> None:
    for partition in range(log.keys.partitions):
        for link in await archive.links(partition):
            await archive.entries(link)


async def _read(log: Log, archive: Archive) -> None:
    async for _ in all_history(log, archive):
        pass


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def report(found: ArchiveFigures) -> str:
    memory = found.most_memory_bytes / 2**20
    return "\n".join(
        [
            *map(str, found.ratios),
            f"{found.bytes_per_event:.0f} bytes per archived event; "
            f"{memory:.0f} MiB of memory at most",
        ]
    )
