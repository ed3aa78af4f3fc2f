"""Whether many jobs that are submitted at once start without a stall, beside a tenth as many.

A runner that is idle and warm gets all of them by one call of `submit_many`. Its jobs do nothing,
so what is told is how soon the first one starts, and the longest time in which none did.
"""

from __future__ import annotations

import time
from itertools import pairwise

from msgspec import Struct

from benchmarks.measuring.percentiles import Percentiles, percentiles
from benchmarks.measuring.table import Ratio, ratio
from benchmarks.peers.everfold import NAMESPACE
from benchmarks.peers.no_op import graph
from benchmarks.peers.peer import EVERFOLD
from benchmarks.peers.workers import tcp_server, workers_of
from everfold.client import Everfold
from everfold.submitting import SubmittedJob

WARM_UP = 200
"""Jobs before: connections open, caches filled."""
WITHIN_S = 300.0
TARGET_RATIO = 0.85
"""A long queue is worked off as fast as a short one."""


class BurstFigures(Struct, frozen=True):
    ratios: list[Ratio]
    submitted_s: float
    """What `submit_many` took, of the last run."""
    first_s: float
    """From before the submit to the first start, the longest of all runs."""
    pauses: Percentiles
    """Between two starts, in the last run."""
    longest_pause_s: float
    """Of all runs."""


class _Burst(Struct, frozen=True):
    submitted_s: float
    first_s: float
    pauses_s: list[float]

    @property
    def jobs_per_s(self) -> float:
        return len(self.pauses_s) / sum(self.pauses_s)


async def measure_burst(jobs: int, repeat: int) -> BurstFigures:
    many, few, jobs = list[_Burst](), list[_Burst](), max(2, jobs)
    for _ in range(repeat):
        few.append(await _burst(max(2, jobs // 10)))
        many.append(await _burst(jobs))
    found = ratio(
        f"{jobs:,} jobs at once",
        [one.jobs_per_s for one in many],
        [one.jobs_per_s for one in few],
        unit="starts/s",
        beside="a tenth as many",
        at_least=TARGET_RATIO,
    )
    return BurstFigures(
        [found],
        round(many[-1].submitted_s, 3),
        round(max(one.first_s for one in many), 3),
        percentiles(many[-1].pauses_s),
        round(max(max(one.pauses_s) for one in many), 3),
    )


async def _burst(jobs: int) -> _Burst:
    async with (
        tcp_server() as (url, folder),
        Everfold.connect(url, namespace=NAMESPACE) as everfold,
    ):
        with workers_of(EVERFOLD, url, folder) as programs:
            await everfold.log.make()
            programs.work(1)
            await _submit(everfold, WARM_UP)
            await programs.until_begun(WARM_UP, WITHIN_S)
            began_ns = time.monotonic_ns()
            await _submit(everfold, jobs)
            submitted_ns = time.monotonic_ns()
            begun = (await programs.until_begun(WARM_UP + jobs, WITHIN_S))[WARM_UP:]
    starts_ns = [job.begun_ns for job in begun]
    pauses_s = [(after - before) / 1e9 for before, after in pairwise(starts_ns)]
    return _Burst((submitted_ns - began_ns) / 1e9, (starts_ns[0] - began_ns) / 1e9, pauses_s)


async def _submit(everfold: Everfold, jobs: int) -> None:
    now_ns = time.monotonic_ns()
    graphs = [graph(str(number), now_ns + number) for number in range(jobs)]
    assert all(isinstance(one, SubmittedJob) for one in await everfold.submit_many(graphs))


def report(found: BurstFigures) -> str:
    pauses = found.pauses
    return "\n".join(
        [
            *map(str, found.ratios),
            f"submit_many took {found.submitted_s:.2f} s; the first job started after "
            f"{found.first_s:.2f} s at most",
            f"between two starts: p50 {pauses.p50_s * 1000:.1f}, p99 {pauses.p99_s * 1000:.1f} ms; "
            f"the longest of all runs {found.longest_pause_s * 1000:.0f} ms",
        ]
    )
