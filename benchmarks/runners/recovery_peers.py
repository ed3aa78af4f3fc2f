"""How long a job stands still when its worker is killed, in Everfold's peers, by their defaults.

A job that would take ten minutes runs on one of two workers, which gets SIGKILL; measured is the
time until the job's function is called again. Nothing is set: time-outs, locks and intervals are
each library's own, and the kill falls anywhere in them. Everfold's job is begun again too, for its
backend dies with the runner.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Sequence
from statistics import median

import anyio
from msgspec import Struct

from benchmarks.measuring.table import number
from benchmarks.peers import installed
from benchmarks.peers.peer import EVERFOLD, Peer, chosen
from benchmarks.peers.workers import Workers, kill, tcp_server, workers_of

PEERS = ("arq", "bullmq", "saq", "streaq", "taskiq")
SETTLE_S = 15.0
"""Both workers have started and look for work, even where many start at once."""
PHASE_S = 60.0
"""The longest interval of a peer, which runs from its worker's start: jobs begin anywhere in it."""
BEGIN_WITHIN_S = 60.0
AT_ONCE = 24
"""Kills under way at the same time: nearly all of it is waiting."""


class PeerRecovery(Struct, frozen=True):
    name: str
    version: str
    seconds: list[float | None]
    """From each kill until the job was begun again; None: not while we waited."""
    median_s: float
    """With the longest wait in place of None."""
    is_least: bool
    """The median is of kills that outlasted the wait: it is at least that."""
    ratio: float
    """Everfold's median over this one; where `is_least`, at most that."""


class PeerRecoveryFigures(Struct, frozen=True):
    within_s: float
    rows: list[PeerRecovery]


async def measure_recovery_of_peers(
    kills: int, within_s: float, only: tuple[str, ...] = PEERS
) -> PeerRecoveryFigures:
    """Kill `kills` workers of each, all side by side, and wait at most `within_s` after each."""
    peers = [EVERFOLD, *installed.install(chosen(only))]
    found: dict[str, list[float | None]] = {peer.name: [] for peer in peers}
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def add(peer: Peer) -> None:
        async with limit:
            found[peer.name].append(await _one_kill(peer, within_s))

    async with anyio.create_task_group() as tasks:
        for peer in peers * kills:
            tasks.start_soon(add, peer)
    rows = [_row(peer, found[peer.name], found[EVERFOLD.name], within_s) for peer in peers]
    rest = sorted(rows[1:], key=lambda row: row.median_s)
    return PeerRecoveryFigures(within_s, [rows[0], *rest])


async def _one_kill(peer: Peer, within_s: float) -> float | None:
    async with tcp_server() as (url, folder):
        with workers_of(peer, url, folder) as programs:
            workers = programs.work(2)
            await anyio.sleep(SETTLE_S + random.uniform(0.0, PHASE_S))
            await programs.send("hold", 1)
            job = (await programs.until_begun(1, BEGIN_WITHIN_S))[0]
            await anyio.sleep(random.uniform(0.0, 3.0))
            kill(_leader(workers, job.pid))
            return await _begun_again_s(programs, within_s)


def _leader(workers: Sequence[subprocess.Popen[str]], pid: int) -> subprocess.Popen[str]:
    """Return the worker in whose session the job runs: some fork for their jobs."""
    session = os.getsid(pid)
    return next(worker for worker in workers if worker.pid == session)


async def _begun_again_s(programs: Workers, within_s: float) -> float | None:
    killed_ns = time.monotonic_ns()
    try:
        times = await programs.until_begun(2, within_s)
    except TimeoutError:
        return None
    return (times[1].begun_ns - killed_ns) / 1e9


def _row(
    peer: Peer, seconds: list[float | None], ours: list[float | None], within_s: float
) -> PeerRecovery:
    median_s = _median_s(seconds, within_s)
    return PeerRecovery(
        name=peer.name,
        version=installed.version(peer),
        seconds=[None if value is None else round(value, 3) for value in seconds],
        median_s=round(median_s, 3),
        is_least=median_s >= within_s,
        ratio=round(_median_s(ours, within_s) / median_s, 4),
    )


def _median_s(seconds: list[float | None], within_s: float) -> float:
    return median(within_s if value is None else value for value in seconds)


def report(found: PeerRecoveryFigures) -> str:
    return "\n".join(
        ["SIGKILL to begun again, ratios are everfold / peer", *map(_told, found.rows)]
    )


def _told(row: PeerRecovery) -> str:
    known = [value for value in row.seconds if value is not None]
    spread = f"{number(min(known))} to {number(max(known))} s" if known else "never while we waited"
    bound, least = ("<=", ">") if row.is_least else ("  ", " ")
    return (
        f"{bound}{row.ratio:6.3f} x  {row.version:22} {least}{number(row.median_s):>6} s  "
        f"({spread}; {len(known)} of {len(row.seconds)} picked up)"
    )
