"""Says in which partitions this runner has something to do, for all of its actors.

Rule: what one server holds is asked in one call, and its answer serves every actor that asks for
nothing newer. An actor still does its work by its own script: what is said here is only where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import anyio
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError
from everfold.streams.leases.fairness import Lane, all_lanes
from everfold.streams.leases.partition_clock import Look
from everfold.streams.leases.server_clock import ServerClock
from everfold.streams.redis import scripts

RECENT_S = 0.49
"""How old an answer may be where nothing newer is needed: less than the pause of any actor."""

KEYS_AT_ONCE = 4_000
"""Keys that one call looks at: the server does nothing else meanwhile."""


class Work(Struct, frozen=True):
    """What there is to do in one partition."""

    is_due: bool
    """A time has come for a job, jobs are blocked, or the clock must be looked at."""
    waiting: frozenset[str]
    """Queues in which jobs wait."""
    held: tuple[Lane, ...]
    """Lanes with jobs that runners hold, this one too, or that were released."""


class _Answer(Struct):
    """The last answer about some partitions: the work, or the error instead of it."""

    asking: anyio.Lock
    asked_s: float = -1.0
    ended_s: float = -1.0
    error: EverfoldError | None = None


class WorkFinder:
    """What the actors of one runner of `queues` know of the work there is."""

    def __init__(self, log: Log, clock: ServerClock, queues: Sequence[str]) -> None:
        self._log, self._clock, self._queues = log, clock, tuple(queues)
        self._lanes = all_lanes(self._queues)
        self._work: dict[int, Work] = {}
        self._answers: dict[int, _Answer] = {}

    @property
    def may_be_held(self) -> bool:
        """Whether runners held jobs, or it was not known, when each partition was last asked."""
        every = range(self._log.keys.partitions)
        return any(p not in self._work or self._work[p].held for p in every)

    async def of(self, partition: int, *, since_s: float | None = None) -> Work:
        """Return the work of a partition as it was at `since_s`, steady time, or later; RECENT_S
        ago by default. Raises a leaf of Unavailable."""
        return (await self.of_all((partition,), since_s=since_s))[partition]

    async def of_all(
        self, partitions: Sequence[int], *, since_s: float | None = None
    ) -> dict[int, Work]:
        """Return the work of partitions that one server has, or of one. Raises as `of` does."""
        began_s = steady_s()
        since_s = began_s - RECENT_S if since_s is None else since_s
        for group in dict.fromkeys(map(self._group, partitions)):
            await self._know(group, began_s, since_s)
        return {partition: self._work[partition] for partition in partitions}

    async def _know(self, group: Sequence[int], began_s: float, since_s: float) -> None:
        """Ask what there is in these partitions, unless it is known. Raises as `of` does."""
        answer = self._answers.setdefault(group[0], _Answer(anyio.Lock(fast_acquire=True)))
        async with answer.asking:  # who waits here gets the answer to the call before
            is_new = answer.ended_s >= began_s if answer.error else answer.asked_s >= since_s
            if not is_new:
                await self._ask(answer, group)
        if answer.error is not None:
            raise answer.error

    def _group(self, partition: int) -> Sequence[int]:
        """Return the partitions that are asked together with one."""
        if not self._log.redis.is_one_server:
            return (partition,)
        size = max(1, KEYS_AT_ONCE // (4 * len(self._queues) + 4))
        first = partition - partition % size
        return range(first, min(first + size, self._log.keys.partitions))

    async def _ask(self, answer: _Answer, group: Sequence[int]) -> None:
        asked_s, keys = steady_s(), self._log.keys
        try:
            time_ms, found = await scripts.find_work(
                self._log.redis,
                clocks=[keys.clock(partition) for partition in group],
                tags=[keys.tag(partition) for partition in group],
                queues=self._queues,
                latest_ms=self._clock.latest_ms(group, asked_s),
            )
        except EverfoldError as error:
            answer.ended_s, answer.error = steady_s(), error
            return
        answered_s = steady_s()
        for partition, row in zip(group, found, strict=True):
            is_explained = len(row) > 3 and self._clock.note(
                partition, Look(time_ms, *cast("list[int]", row[3:])), asked_s, answered_s
            )
            self._work[partition] = self._read(row, is_explained)
        answer.asked_s, answer.error = asked_s, None

    def _read(self, row: Sequence[object], is_explained: bool) -> Work:
        is_due, waiting, held = cast("tuple[int, list[int], list[int]]", tuple(row[:3]))
        return Work(
            is_due=bool(is_due) or not is_explained,
            waiting=frozenset(self._queues[number] for number in waiting),
            held=tuple(self._lanes[number] for number in held),
        )
