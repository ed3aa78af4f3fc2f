"""`python -m benchmarks NAME [--json FILE] [--publish]`: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import msgspec

from benchmarks import cluster, sizing, startup
from benchmarks.log import (
    append,
    archive,
    durability,
    lists,
    many_open,
    projector,
    scale,
    submits,
    verify,
)
from benchmarks.measuring.guard import guarded
from benchmarks.measuring.machine import machine, versions
from benchmarks.measuring.publish import Result, publish
from benchmarks.runners import (
    burst,
    farm,
    lifecycle,
    memory,
    order,
    overhead,
    placement,
    recovery,
    recovery_peers,
)
from benchmarks.serving import assets, console, fanout, gateway, sinks

Measured = tuple[str, object]
"""The report for people, and the figures for programs."""


async def _append(options: argparse.Namespace) -> Measured:
    found = await append.measure_append(options.events, options.repeat)
    return append.report(found), found


async def _archive(options: argparse.Namespace) -> Measured:
    found = await archive.measure_archive(options.events, options.repeat)
    return archive.report(found), found


async def _assets(options: argparse.Namespace) -> Measured:
    found = await assets.measure_assets(options.pictures, options.video_mib, options.repeat)
    return assets.report(found), found


async def _burst(options: argparse.Namespace) -> Measured:
    found = await burst.measure_burst(options.burst_jobs, options.repeat)
    return burst.report(found), found


async def _cluster(options: argparse.Namespace) -> Measured:
    found = await cluster.measure_cluster(min(options.events, 40_000), options.repeat)
    return cluster.report(found), found


async def _console(options: argparse.Namespace) -> Measured:
    found = await console.measure_console(options.shown_jobs, options.repeat, options.minutes)
    return console.report(found), found


async def _durability(options: argparse.Namespace) -> Measured:
    found = await durability.measure_durability(options.submits, options.repeat)
    return durability.report(found), found


async def _fanout(options: argparse.Namespace) -> Measured:
    found = await fanout.measure_fanout(options.seconds)
    return fanout.report(found), found


async def _farm(options: argparse.Namespace) -> Measured:
    found = await farm.measure_farm(options.backends, options.jobs_each)
    return farm.report(found), found


async def _gateway(options: argparse.Namespace) -> Measured:
    sizes = {"watchers": options.watchers, "of_one_job": min(300, options.watchers)}
    times = {"seconds": options.watch_seconds, "submit_seconds": options.watch_seconds / 5}
    found = await gateway.measure_gateway(gateway.Load(turns=options.repeat, **sizes, **times))
    return gateway.report(found), found


async def _lifecycle(options: argparse.Namespace) -> Measured:
    only = tuple(options.only or ())
    found = await lifecycle.measure_lifecycle(options.jobs, options.repeat, options.workers, only)
    return lifecycle.report(found), found


async def _lists(options: argparse.Namespace) -> Measured:
    found = await lists.measure_lists(options.listed, options.repeat * 6)
    return lists.report(found), found


async def _many_open(options: argparse.Namespace) -> Measured:
    found = await many_open.measure_many_open(options.open_jobs, options.calls)
    return many_open.report(found), found


async def _memory(options: argparse.Namespace) -> Measured:
    found = await memory.measure_memory(options.memory_jobs, options.memory_minutes)
    return memory.report(found), found


async def _order(options: argparse.Namespace) -> Measured:
    found = await order.measure_order(options.order_jobs, options.repeat)
    return order.report(found), found


async def _overhead(options: argparse.Namespace) -> Measured:
    found = await overhead.measure_overhead(options.short_jobs, options.repeat)
    return overhead.report(found), found


async def _placement(options: argparse.Namespace) -> Measured:
    found = await placement.measure_placement(options.farm_jobs, options.repeat)
    return placement.report(found), found


async def _projector(options: argparse.Namespace) -> Measured:
    found = await projector.measure_projector(options.events, options.repeat)
    return projector.report(found), found


async def _recovery(options: argparse.Namespace) -> Measured:
    found = await recovery.measure_recovery(options.kills, options.freezes, options.orphans)
    return recovery.report(found), found


async def _recovery_of_peers(options: argparse.Namespace) -> Measured:
    only = tuple(options.only or recovery_peers.PEERS)
    found = await recovery_peers.measure_recovery_of_peers(options.peer_kills, options.within, only)
    return recovery_peers.report(found), found


async def _scale(options: argparse.Namespace) -> Measured:
    found = await scale.measure_scale(options.most_events, options.calls)
    return scale.report(found), found


async def _sinks(options: argparse.Namespace) -> Measured:
    found = await sinks.measure_sinks(min(options.events, 50_000), options.repeat)
    return sinks.report(found), found


async def _sizing(_: argparse.Namespace) -> Measured:
    found = await sizing.measure_sizing()
    return sizing.report(found), found


async def _startup(options: argparse.Namespace) -> Measured:
    found = await startup.measure_startup(options.starts)
    return startup.report(found), found


async def _submits(options: argparse.Namespace) -> Measured:
    found = await submits.measure_submits(options.many_submits, options.repeat)
    return submits.report(found), found


async def _verify(options: argparse.Namespace) -> Measured:
    found = await verify.measure_verify(options.events, options.repeat)
    return verify.report(found), found


BENCHMARKS: dict[str, Callable[[argparse.Namespace], Awaitable[Measured]]] = {
    "append": _append,
    "archive": _archive,
    "assets": _assets,
    "burst": _burst,
    "cluster": _cluster,
    "console": _console,
    "durability": _durability,
    "fanout": _fanout,
    "farm": _farm,
    "gateway": _gateway,
    "lifecycle": _lifecycle,
    "lists": _lists,
    "many_open": _many_open,
    "memory": _memory,
    "order": _order,
    "overhead": _overhead,
    "placement": _placement,
    "projector": _projector,
    "recovery": _recovery,
    "recovery-peers": _recovery_of_peers,
    "scale": _scale,
    "sinks": _sinks,
    "sizing": _sizing,
    "startup": _startup,
    "submits": _submits,
    "verify": _verify,
}


def main() -> None:
    options = _parser().parse_args()
    # A browser is not where the others are measured.
    every = [name for name in BENCHMARKS if name != "console"]
    wanted = every if "all" in options.what else options.what
    place = {"machine": machine(), "versions": anyio.run(versions)}
    found: dict[str, Result] = {}
    print(", ".join(place.values()), flush=True)
    for name in wanted:
        report, figures = anyio.run(BENCHMARKS[name], options)
        print(f"== {name}\n{report}", flush=True)
        date = time.strftime("%Y-%m-%d", time.gmtime())
        found[name] = {
            **place,
            "date": date,
            "report": report,
            "figures": msgspec.to_builtins(figures),
        }
        if options.publish:
            publish(found)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("what", nargs="+", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--repeat", type=int, default=5, help="runs of each, in turns")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--publish", action="store_true", help="into benchmarks/README.md")
    sizes: tuple[tuple[str, type, float, str], ...] = (
        ("--events", int, 200_000, "append, archive, cluster, projector, sinks, verify: events"),
        ("--burst-jobs", int, 10_000, "burst: jobs submitted at once"),
        ("--pictures", int, 100, "assets: jobs of half a second with a picture each"),
        ("--video-mib", int, 1024, "assets: size of the video"),
        ("--kills", int, 30, "recovery: runners to kill with SIGKILL"),
        ("--freezes", int, 5, "recovery: runners to freeze with SIGSTOP"),
        ("--orphans", int, 10_000, "recovery: jobs of one dead runner"),
        ("--peer-kills", int, 3, "recovery-peers: workers to kill, of each"),
        ("--within", float, 120.0, "recovery-peers: longest wait in seconds"),
        ("--jobs", int, 20_000, "lifecycle: jobs in the queue"),
        ("--workers", int, 1, "lifecycle: worker processes"),
        ("--seconds", float, 20.0, "fanout: how long"),
        ("--watchers", int, 1_000, "gateway: event streams"),
        ("--watch-seconds", float, 20.0, "gateway: how long, in each turn"),
        ("--shown-jobs", int, 10_000, "console: jobs in the namespace"),
        ("--minutes", float, 60.0, "console: how long a tab is watched under load"),
        ("--backends", int, 300, "farm: ComfyUI servers"),
        ("--jobs-each", int, 4, "farm: jobs for each of them"),
        ("--order-jobs", int, 500, "order: jobs of the longer queue"),
        ("--short-jobs", int, 300, "overhead: jobs of each run"),
        ("--farm-jobs", int, 30, "placement: jobs for two servers"),
        ("--most-events", int, 5_000_000, "scale: largest log"),
        ("--calls", int, 500, "many_open, scale: of each operation"),
        ("--open-jobs", int, 1_000_000, "many_open: jobs that wait"),
        ("--listed", int, 100_000, "lists: jobs"),
        ("--submits", int, 5_000, "durability: jobs submitted in each run"),
        ("--memory-minutes", float, 5.0, "memory: how long at most"),
        ("--memory-jobs", int, 1_000_000, "memory: jobs at most"),
        ("--many-submits", int, 20_000, "submits: jobs of each run"),
        ("--starts", int, 20, "startup: of each program"),
    )
    for flag, kind, default, words in sizes:
        parser.add_argument(flag, type=kind, default=default, help=words)
    parser.add_argument("--only", nargs="*", help="lifecycle, recovery-peers: these peers")
    return parser


with guarded():
    main()
