"""How long a program takes that imports Everfold, or a command that a person waits for.

Rule: beside `python -c pass` of the same Python, in turns; the least time of each counts, because
what the machine does besides can only add to it. Processor time is told beside it: a busy machine
adds less to that.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import anyio
from msgspec import Struct

from benchmarks.measuring.server import bench_server
from benchmarks.measuring.table import Ratio, ratio
from everfold import Log, Projector
from everfold.projector.reading.read_your_writes import until_projected

JOBS = 20
"""Jobs that `everfold jobs ls` prints."""

COMMAND = "import sys; from everfold.__main__ import main; sys.exit(main())"
"""What the installed script `everfold` does."""

NOTHING = ("-c", "pass")

STARTS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "import everfold": (("-c", "import everfold"), 8),
    "everfold --version": (("-c", COMMAND, "--version"), 12),
    "everfold jobs ls": (("-c", COMMAND, "jobs", "ls"), 35),
}
"""What is started, and at most how many times as long as nothing it may take."""


class Taken(Struct, frozen=True):
    """What one start took, in milliseconds."""

    ms: float
    processor_ms: float


class StartupFigures(Struct, frozen=True):
    ratios: list[Ratio]
    processor: dict[str, float]
    """The ratios of the processor time."""


async def measure_startup(times: int) -> StartupFigures:
    async with bench_server() as (url, folder):
        await _submit(url)
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith("REDIS_")
        }
        environ["EVERFOLD_DATA"] = str(folder / "data")
        found = await anyio.to_thread.run_sync(_started, times, environ)
    return StartupFigures(
        [_ratio(name, found[name], found["nothing"]) for name in STARTS],
        {name: round(_processor(found[name]) / _processor(found["nothing"]), 3) for name in STARTS},
    )


def _ratio(name: str, ours: list[Taken], nothing: list[Taken]) -> Ratio:
    return ratio(
        name,
        [one.ms for one in ours],
        [one.ms for one in nothing],
        unit="ms",
        beside="python -c pass",
        at_most=STARTS[name][1],
        of=min,
    )


def _processor(starts: list[Taken]) -> float:
    return min(one.processor_ms for one in starts)


async def _submit(url: str) -> None:
    async with Log.open(url) as log, anyio.create_task_group() as tasks:
        tasks.start_soon(Projector(log, "bench").run)
        for _ in range(JOBS):
            made = await log.submit({"1": {"class_type": "None", "inputs": {}}}, kind="bench")
            await until_projected(log, made.job_id, 1)
        tasks.cancel_scope.cancel()


def _started(times: int, environ: Mapping[str, str]) -> dict[str, list[Taken]]:
    """Return what each start took, by its name; a first one of each is not counted."""
    calls = {"nothing": NOTHING, **{name: arguments for name, (arguments, _) in STARTS.items()}}
    found: dict[str, list[Taken]] = {name: [] for name in calls}
    for _ in range(times + 1):
        for name, arguments in calls.items():
            found[name].append(_start(arguments, environ))
    return {name: taken[1:] for name, taken in found.items()}


def _start(arguments: tuple[str, ...], environ: Mapping[str, str]) -> Taken:
    root, before, started = Path(__file__).parents[1], _processor_ms(), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environ, check=True, stdout=subprocess.DEVNULL
    )
    return Taken((time.perf_counter() - started) * 1000, _processor_ms() - before)


def _processor_ms() -> float:
    """Return the processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


def report(found: StartupFigures) -> str:
    lines = (
        f"{one}\n          processor time {found.processor[one.name]:.3g} x" for one in found.ratios
    )
    return "\n".join(lines)
