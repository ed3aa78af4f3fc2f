"""Rounds of a fault: it comes while work goes on, the target heals, what was told is counted."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
from msgspec import Struct

from everfold.embedded.engines import Engine
from everfold.projector.reading.queries import current
from everfold.streams.appending.memory.lost_writes import lost_writes
from everfold.streams.errors import EverfoldError
from tests.failover.count import Left, known, left
from tests.failover.load import Load, load
from tests.failover.targets import ClusterTarget, Target, target
from tests.support.programs.forked import ForkServer
from tests.support.programs.programs import programs
from tests.support.wait import eventually

BEFORE_S, AFTER_S = 1.5, 1.5
"""How long clients work before a fault, and after the target is whole again."""
REMEMBERED_WITHIN_S = 20.0
"""How long living processes may take to name and put back what was lost."""
END_WITHIN_S = 90.0
PARTITIONS = 8
SHOWN_JOBS = 5


class Round(Struct, frozen=True):
    """What one fault did."""

    seed: int
    told: int
    refused: int
    left: Left
    unended: frozenset[str]
    """Jobs that were to run, are there and have not ended."""
    writes_again_s: float
    """The longest that a submit took which was under way at the fault or came after it."""
    ended: int
    """Processes that have ended."""

    def violations(self) -> list[str]:
        """Return what must not be, a sentence each."""
        rows = {
            "lost without a word": self.left.silent,
            "run twice": self.left.twice,
            "without an end": self.unended,
        }
        found = [_sentence(what, sorted(jobs)) for what, jobs in rows.items() if jobs]
        return [*found, *["a process has ended"] * self.ended]


def _sentence(what: str, jobs: Sequence[str]) -> str:
    more = f" and {len(jobs) - SHOWN_JOBS} more" if len(jobs) > SHOWN_JOBS else ""
    return f"{what}: {', '.join(jobs[:SHOWN_JOBS])}{more}"


class Series(Struct, frozen=True):
    """All rounds of one fault on one target."""

    engine: str
    kind: str
    fault: str
    replicas: int
    """Replicas that each write waits for."""
    rounds: list[Round]


async def run_round(work: Load, on: Target, fault: str, seed: int) -> Round:
    async with work.going_on():
        await anyio.sleep(BEFORE_S * random.Random(seed).uniform(0.5, 1.5))
        began_s = time.monotonic()
        await on.faults[fault]()
        await anyio.sleep(AFTER_S)
        again_s = work.asked_longest_s(began_s)
    ended = work.ended
    await work.restart_ended()
    await _remembered(work)
    run = [told.job_id for told in work.told if told.runs]
    unended = await _unended(work, run)
    ledgers = [comfy.ledger for comfy in work.comfys if comfy.ledger.exists()]
    told = {one.job_id for one in work.told}
    return Round(
        seed=seed,
        told=len(told),
        refused=work.refused,
        left=await left(work.everfold.log, told, work.seen, ledgers, run),
        unended=unended,
        writes_again_s=again_s,
        ended=work.ended - ended,
    )


async def _remembered(work: Load) -> None:
    """Wait until nothing is missing that was told, or the memories have had their time."""
    log, told = work.everfold.log, [one.job_id for one in work.told]

    async def is_whole() -> bool:
        try:
            missing = set(told) - await known(log, told)
            return not missing - {found.job_id for found in await lost_writes(log)}
        except EverfoldError:
            return False

    try:
        await eventually(is_whole, REMEMBERED_WITHIN_S)
    except AssertionError:
        return  # the count says what is missing


async def _unended(work: Load, run: Sequence[str]) -> frozenset[str]:
    """Wait for the end of the jobs that are there; return those that have none, and how each is."""
    log = work.everfold.log
    open_jobs = dict.fromkeys(await known(log, run), "not read")

    async def all_ended() -> bool:
        for job_id in list(open_jobs):
            job = await current(log, job_id)
            open_jobs[job_id] = f"{job.status} at seq {job.seq} of {job.owner or 'nobody'}"
            if job.is_terminal:
                del open_jobs[job_id]
        return not open_jobs

    with contextlib.suppress(AssertionError):
        await eventually(all_ended, END_WITHIN_S)
    return frozenset(f"{job_id} ({how})" for job_id, how in open_jobs.items())


async def run_series(
    engine: Engine,
    kind: str,
    fault: str,
    seeds: Sequence[int],
    folder: Path,
    *,
    replicas: int = 0,
    fork_server: ForkServer | None = None,
) -> Series:
    """Run a round for each seed on one target with one set of processes."""
    chance = random.Random(seeds[0])
    rounds = list[Round]()
    servers = max(1, replicas and 2)
    with (
        target(kind, engine, chance, replicas=servers, network=fault == "partition") as on,
        programs(fork_server=fork_server) as start,
    ):
        async with load(
            on.url, "failover", folder, start, replicas=replicas, partitions=PARTITIONS
        ) as work:
            if isinstance(on, ClusterTarget):
                keys = work.everfold.log.keys
                on.keys = [f"{keys.tag(number)}:log" for number in range(keys.partitions)]
            for seed in seeds:
                rounds.append(await run_round(work, on, fault, seed))
    return Series(
        f"{engine.name} {engine.version[0]}.{engine.version[1]}", kind, fault, replicas, rounds
    )
