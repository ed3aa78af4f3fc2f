"""How long jobs of each queue run, learned from those that ended, and kept in Redis for all.

Rule: it delays and ends no commit: what cannot be written is forgotten. The hash has QUEUES_LIMIT
fields and no more. What is read may be anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import anyio
import msgspec
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError
from everfold.streams.redis.pages import read_readable_hash
from everfold.streams.redis.redis_errors import command

logger = get_logger("everfold.projector")

QUEUES_LIMIT = 1_000
WRITE_EVERY_S = 5.0
WRITE_WITHIN_S = 1.0
SHARE = 0.1
"""How far the average moves to each run."""
MOST_COUNTED = 1_000_000
LONGEST_S = 30 * 86_400.0


class RunTime(Struct, frozen=True, array_like=True):
    """A field of the hash: what a job of one queue takes."""

    mean_s: float
    """A moving average: of some ten runs."""
    count: int
    """From how many runs it was learned."""


def learned(known: RunTime | None, runs_s: Sequence[float]) -> RunTime | None:
    """Return what is known after more runs, the oldest first."""
    for run_s in runs_s:
        if not 0 <= run_s <= LONGEST_S:
            continue
        count = min(known.count + 1, MOST_COUNTED) if known else 1
        # The first runs count alike, so that one odd run at the beginning is soon forgotten.
        share = max(SHARE, 1 / count)
        mean_s = known.mean_s if known else 0.0
        known = RunTime(mean_s + (run_s - mean_s) * share, count)
    return known


class RunTimes:
    """What one projector learns of one partition, and has not written yet."""

    RUNS_LIMIT = 100
    """Runs of one queue that wait to be written; beyond it the oldest are forgotten."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._runs = dict[str, list[float]]()
        self._written_at_s = -math.inf

    def note(self, queue: str, run_s: float) -> None:
        """Take how long a job ran."""
        if len(self._runs) < QUEUES_LIMIT or queue in self._runs:
            runs = self._runs.setdefault(queue, [])
            runs.append(run_s)
            del runs[: -self.RUNS_LIMIT]

    async def write_due(self) -> None:
        """Write what was noted, unless that was done lately."""
        if not self._runs or steady_s() < self._written_at_s + WRITE_EVERY_S:
            return
        self._written_at_s = steady_s()
        runs, self._runs = self._runs, {}
        try:
            with anyio.move_on_after(WRITE_WITHIN_S):
                await self._write(runs)
        except EverfoldError as error:
            logger.debug("run_times_not_written why=%r", str(error))

    async def _write(self, runs: Mapping[str, Sequence[float]]) -> None:
        known = await read_run_times(self._log)
        new = {
            queue: found
            for queue, noted in runs.items()
            if (found := learned(known.get(queue), noted)) is not None
            and (queue in known or len(known) + len(runs) <= QUEUES_LIMIT)
        }
        if new:
            fields = [word for queue, one in new.items() for word in (queue, _encoded(one))]
            await command(self._log.redis, "HSET", self._log.keys.run_times(), *fields)


async def read_run_times(log: Log) -> dict[str, RunTime]:
    """Return what is known by queue. Raises a leaf of Unavailable."""
    found = await read_readable_hash(log.redis, log.keys.run_times(), RunTime)
    return {name: one for name, one in found.items() if _is_sane(one)}


def _is_sane(one: RunTime) -> bool:
    return math.isfinite(one.mean_s) and 0 <= one.mean_s <= LONGEST_S and one.count > 0


def _encoded(one: RunTime) -> bytes:
    return msgspec.json.encode((round(one.mean_s, 4), one.count))
