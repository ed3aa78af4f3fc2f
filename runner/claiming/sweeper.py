"""Finds orphaned jobs and takes them over.

Rule: a job is orphaned when its lease ran out, its lease was released, or its runner has no
connection any more. Each lane's cursor is kept between sweeps, so that no entry starves behind
others. After a partition was away, owners get one lease length to renew before anything is taken.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio

from everfold.runner.claiming.claimer import Start
from everfold.runner.claiming.clock_check import wait_for_other_looks
from everfold.runner.claiming.trouble import LONGEST_PAUSE_S, note_trouble
from everfold.runner.claiming.work_finder import WorkFinder
from everfold.runner.decisions.suspects import Suspects
from everfold.runner.execution.shared import Shared
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import CorruptLog, EverfoldError, ServerRefusesAccess
from everfold.streams.leases.dispatch import FOR_EVER_S
from everfold.streams.leases.registry import connected, deregister_runner, registered_runners
from everfold.streams.redis.keys import connection_name
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.rounds import Rounds

Lane = tuple[str, str]

PROBE_LIMIT, PAGE_LIMIT = 4, 500
"""Jobs taken over in one call. Two events are made in advance for each, mostly in vain, so a call
asks for few until it finds some."""

RUNNERS_WITHIN_S, RUNNERS_AGAIN_S = 2.0, 10.0
"""How long primaries are asked who is connected, and when again if one was silent."""


RUNNERS_IDLE_S = 5.0
"""How often it is asked who is connected while no job is held."""


class Sweeper:
    """Takes jobs over and calls `start` for each, which then owns the lease."""

    def __init__(self, shared: Shared, work: WorkFinder, start: Start) -> None:
        self._shared, self._work = shared, work
        self._start = start
        self._woken = anyio.Event()
        self._since_s: float | None = None
        """From when on it must be known what is held; see `WorkFinder.of`."""
        self._cursors: dict[tuple[int, Lane], str] = {}
        self._suspects = Suspects(shared.config.suspect_after_s)
        self._dead: dict[str, set[int]] = {}
        """Dead runners -> the partitions in which all of theirs was taken over."""
        self._ask_runners_s, self._asked_runners_s = 0.0, -RUNNERS_IDLE_S
        self._hold_until_s: dict[int, float] = {}
        self._search_at_s: dict[int, float] = {}

    def wake(self, _partition: str = "") -> None:
        """Sweep now: a lease was released."""
        self._woken.set()

    async def run(self) -> None:
        """Sweep every `sweep_every_s` until cancelled; a partition that does not answer holds back
        no other one."""
        backoff = Backoff(most_s=LONGEST_PAUSE_S)
        async with Rounds(self._shared.log) as rounds:
            while True:
                was_woken, self._woken = self._woken.is_set(), anyio.Event()
                # What one had who is dead by now must be known, and what was just released.
                self._since_s = steady_s() if self._dead or was_woken else None
                failure = await self._sweep_all(rounds)
                await self._forget_dead_runners()
                known = set(self._dead)
                await self._find_dead_runners()
                if failure is not None:
                    note_trouble("sweeper", failure)
                    await anyio.sleep(backoff.next_s())
                    continue
                backoff.reset()
                if self._dead.keys() <= known:
                    with anyio.move_on_after(self._pause_s()):
                        await self._woken.wait()

    def _pause_s(self) -> float:
        """Return how long to wait: not beyond the time when the next suspect will be dead."""
        return min(self._shared.config.sweep_every_s, self._suspects.next_in_s(steady_s()))

    async def _sweep_all(self, rounds: Rounds) -> EverfoldError | None:
        """Sweep the partitions in which something may be held; return why some were not swept."""
        looks = await rounds.together(self._look)
        for partition, error in looks.errors.items():
            self._hold(partition, error)
        found = [partition for partition, may_be_held in looks.values.items() if may_be_held]
        sweeps = await rounds.go(self._sweep, found)
        return looks.failure or sweeps.failure

    async def _look(self, partitions: Sequence[int]) -> dict[int, bool]:
        """Say of partitions of one server whether something may be held, or must be looked for."""
        work = await self._work.of_all(partitions, since_s=self._since_s)
        return {partition: bool(found.held or self._dead) for partition, found in work.items()}

    def _hold(self, partition: int, error: EverfoldError) -> None:
        """Let owners renew for a lease length before anything is taken there."""
        if not isinstance(error, CorruptLog):  # that is of a key, not of the server
            self._hold_until_s[partition] = steady_s() + self._shared.config.lease_ttl_s

    async def _sweep(self, partition: int) -> None:
        """Take over what is orphaned in a partition. After an error its owners get a lease length
        to renew before anything is taken there."""
        await wait_for_other_looks(self._shared.dispatch.clock, partition)
        dead = list(self._dead)
        try:
            held = (await self._work.of(partition, since_s=self._since_s)).held
            for suspect in dead:
                await self._in_lanes(partition, held, partial(self._take_over, suspect=suspect))
                if suspect in self._dead:
                    self._dead[suspect].add(partition)
            if held:
                await self._in_lanes(partition, held, self._take_over)
                await self._find_lost_leases(partition, held)
        except EverfoldError as error:
            self._hold(partition, error)
            raise

    async def _in_lanes(
        self, partition: int, lanes: Sequence[Lane], act: Callable[[int, Lane], Awaitable[None]]
    ) -> None:
        """Act in lanes of a partition side by side: one by one, a slow link would take seconds.

        Raises the first error of the server, after all other lanes.
        """
        errors: list[EverfoldError] = []

        async def walk(lane: Lane) -> None:
            try:
                await act(partition, lane)
            except CorruptLog as error:
                note_trouble(f"lane {partition} {lane}", error)  # the others go on
            except EverfoldError as error:
                errors.append(error)

        async with anyio.create_task_group() as walks:
            for lane in lanes:
                walks.start_soon(walk, lane)
        if errors:
            raise errors[0]

    async def _find_lost_leases(self, partition: int, lanes: Sequence[Lane]) -> None:
        """Start the jobs whose leases the server gave in answers that were lost."""
        asked_at_s = steady_s()
        if asked_at_s < self._search_at_s.get(partition, 0.0):
            return
        await self._in_lanes(partition, lanes, self._restore_leases)
        for lease in await self._shared.dispatch.own_leases_in(partition, lanes):
            if not self._shared.leases.holds(lease.job_id):
                self._start(lease, asked_at_s, None)
        self._search_at_s[partition] = asked_at_s + self._shared.config.lease_ttl_s

    async def _restore_leases(self, partition: int, lane: Lane) -> None:
        """Release jobs of which no lease is known: their consumer group was lost and made anew."""
        dispatch = self._shared.dispatch
        if await dispatch.lacks_leases(partition, lane):
            await dispatch.restore(partition, lane)

    def _idle_limit_s(self, partition: int) -> float:
        """Return how long an entry must be idle. A released one is idle beyond every limit."""
        config = self._shared.config
        holding = steady_s() < self._hold_until_s.get(partition, 0.0)
        return config.lease_ttl_s + (FOR_EVER_S if holding else 0.0)

    async def _take_over(self, partition: int, lane: Lane, suspect: str = "") -> None:
        """Take all orphaned jobs of a lane, or those of `suspect` only."""
        most = PROBE_LIMIT
        while True:
            # A leased job must get its run: a drain must not cancel between the two.
            with anyio.CancelScope(shield=True):
                taken = await self._take_page(partition, lane, suspect, most)
            is_at_end = self._cursors[partition, lane] == "-"
            if (is_at_end and not suspect) or (suspect and taken < most):
                return
            most = PAGE_LIMIT if taken else PROBE_LIMIT

    async def _take_page(self, partition: int, lane: Lane, suspect: str, most: int) -> int:
        key = (partition, lane)
        asked_at_s = steady_s()
        cursor, leases = await self._shared.dispatch.take_over(
            partition,
            lane,
            idle_limit_s=self._idle_limit_s(partition),
            # What was taken is no longer the suspect's, so each page starts at the beginning.
            cursor="-" if suspect else self._cursors.get(key, "-"),
            suspect=suspect,
            most=most,
        )
        self._cursors[key] = "-" if suspect else cursor
        for lease in leases:
            self._start(lease, asked_at_s, None)
        return len(leases)

    async def _find_dead_runners(self) -> None:
        """Note the registered runners without a connection for `suspect_after_s`."""
        if steady_s() < self._ask_runners_s or self._is_idle():
            return
        self._asked_runners_s = steady_s()
        dead = list[str]()
        try:
            with anyio.move_on_after(RUNNERS_WITHIN_S) as waited:
                dead = await self._dead_runners()
            if waited.cancelled_caught:  # while one primary is silent nobody is taken for dead
                self._ask_runners_s = steady_s() + RUNNERS_AGAIN_S
                self._suspects.forget()
        except EverfoldError as error:
            # CLIENT LIST may be forbidden: leases then run out by themselves.
            note_trouble("sweeper, looking for dead runners", error)
            if not isinstance(error, ServerRefusesAccess | CorruptLog):
                self._suspects.forget()  # after an outage connections need a while to come back
        self._dead = {runner: self._dead.get(runner, set()) for runner in dead}

    def _is_idle(self) -> bool:
        """Say whether a runner that were dead would leave nothing behind but its entry."""
        now_s = steady_s()
        may_wait = not (self._work.may_be_held or self._dead)
        is_recent = now_s - self._asked_runners_s < RUNNERS_IDLE_S
        return may_wait and is_recent and math.isinf(self._suspects.next_in_s(now_s))

    async def _dead_runners(self) -> list[str]:
        log, name = self._shared.log, self._shared.config.name
        names, entries = await asyncio.gather(connected(log), registered_runners(log))
        if connection_name(name) not in names:
            return []  # who does not see itself, as behind a proxy, cannot say that others are gone
        registered = {name for name, entry in entries.items() if entry.is_named}
        registered.discard(name)
        return self._suspects.dead(registered, names, steady_s())

    async def _forget_dead_runners(self) -> None:
        """Forget dead runners that have no leases any more.

        Those of other queues are taken by runners that serve them, and know it by its entry.
        """
        every = self._shared.log.keys.partitions
        for runner in [name for name, partitions in self._dead.items() if len(partitions) == every]:
            try:
                if not await self._has_leases(runner):
                    await deregister_runner(self._shared.log, runner)
            except EverfoldError as error:
                note_trouble("sweeper, forgetting dead runners", error)
                continue
            self._suspects.forget(runner)

    async def _has_leases(self, suspect: str) -> bool:
        entry = (await registered_runners(self._shared.log)).get(suspect)
        theirs = set(entry.queues if entry else ()) - set(self._shared.config.queues)
        return bool(theirs) and await self._shared.dispatch.has_leases(suspect, sorted(theirs))
