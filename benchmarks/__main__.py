"""`python -m benchmarks NAME [--json FILE]`: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import msgspec

from benchmarks import append, archive, fanout, farm, projector, recovery, scale

Measured = tuple[str, object]
"""The report for people, and the figures for programs."""


async def _recovery(options: argparse.Namespace) -> Measured:
    found = await recovery.measure_recovery(options.kills, options.freezes, options.orphans)
    return recovery.report(found), found


async def _projector(options: argparse.Namespace) -> Measured:
    found = await projector.measure_projector(options.events, options.repeat)
    return projector.report(found), found


async def _append(options: argparse.Namespace) -> Measured:
    found = await append.measure_append(options.events, options.repeat)
    return append.report(found), found


async def _archive(options: argparse.Namespace) -> Measured:
    found = await archive.measure_archive(options.events, options.repeat)
    return archive.report(found), found


async def _fanout(options: argparse.Namespace) -> Measured:
    found = await fanout.measure_fanout(options.seconds)
    return fanout.report(found), found


async def _farm(options: argparse.Namespace) -> Measured:
    found = await farm.measure_farm(options.backends, options.jobs_each)
    return farm.report(found), found


async def _scale(options: argparse.Namespace) -> Measured:
    found = await scale.measure_scale(options.most_events, options.calls)
    return scale.report(found), found


BENCHMARKS: dict[str, Callable[[argparse.Namespace], Awaitable[Measured]]] = {
    "append": _append,
    "archive": _archive,
    "fanout": _fanout,
    "farm": _farm,
    "projector": _projector,
    "recovery": _recovery,
    "scale": _scale,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("what", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--repeat", type=int, default=5, help="runs of each, in turns")
    parser.add_argument("--events", type=int, default=200_000, help="archive, projector: events")
    parser.add_argument("--kills", type=int, default=30, help="runners to kill with SIGKILL")
    parser.add_argument("--freezes", type=int, default=5, help="runners to freeze with SIGSTOP")
    parser.add_argument("--orphans", type=int, default=10_000, help="jobs of one dead runner")
    parser.add_argument("--seconds", type=float, default=20.0, help="fanout: how long")
    parser.add_argument("--backends", type=int, default=300, help="farm: ComfyUI servers")
    parser.add_argument("--jobs-each", type=int, default=4, help="farm: jobs for each of them")
    parser.add_argument("--most-events", type=int, default=5_000_000, help="scale: largest log")
    parser.add_argument("--calls", type=int, default=500, help="scale: of each operation")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    wanted = list(BENCHMARKS) if options.what == "all" else [options.what]
    found: dict[str, object] = {
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    for name in wanted:
        report, figures = anyio.run(BENCHMARKS[name], options)
        print(f"== {name}\n{report}", flush=True)
        found[name] = msgspec.to_builtins(figures)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))


main()
