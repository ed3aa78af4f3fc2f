"""Takes waiting jobs while the fleet has room.

Rule: woken by hints, by room that becomes free, and by a poll that misses nothing; never takes a
job that it has no slot for. Only partitions that may have a waiting job are asked: those of a hint,
those that had more than was taken, and all of them once in a while. Partitions, queues and
priorities take turns (streams/leases/fairness.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

from everfold.runner.execution.fleet import Place
from everfold.runner.execution.shared import Shared
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import Unavailable
from everfold.streams.leases.fairness import lane_order, partition_order
from everfold.streams.redis.retry import Backoff

CLAIM_LIMIT = 16
"""Jobs asked for at once: each is a message made in advance, needed or not."""

Start = Callable[[Lease, float, Place | None], None]
"""Begins a job run: the lease, time.monotonic() before it was asked for, the reserved slot."""


class Claimer:
    def __init__(self, shared: Shared, start: Start) -> None:
        self._shared = shared
        self._start = start
        self._woken = anyio.Event()
        self._turn = 0
        self._due = self._all()
        """Partitions that may have a job for us."""
        self._looked_at_all_s = 0.0

    def _all(self) -> set[int]:
        return set(range(self._shared.log.keys.partitions))

    def wake(self, partition: str = "") -> None:
        """Look for work now: in one partition, or in all of them."""
        self._due |= {int(partition)} & self._all() if partition.isdigit() else self._all()
        self._woken.set()

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._wake_on_room)
            await self._take_forever()

    async def _wake_on_room(self) -> None:
        while True:
            await self._shared.fleet.changed()
            if self._due:
                self._woken.set()

    async def _take_forever(self) -> None:
        backoff = Backoff()
        while True:
            with anyio.move_on_after(self._shared.config.poll_every_s):
                await self._woken.wait()
            self._woken = anyio.Event()
            self._look_at_all_in_time()
            try:
                await self._take_round()
                backoff.reset()
            except Unavailable:
                await anyio.sleep(backoff.next_s())
                await self._adopt_quietly()

    def _look_at_all_in_time(self) -> None:
        """Ask every partition once per poll time, also while hints come all the time."""
        now_s = time.monotonic()
        if now_s - self._looked_at_all_s >= self._shared.config.poll_every_s:
            self._due = self._all()
            self._looked_at_all_s = now_s

    async def _take_round(self) -> None:
        """Offer the due partitions the room there is, until there is none, or nothing to take."""
        keys, queues = self._shared.log.keys, self._shared.config.queues
        while self._due and self._shared.fleet.room:
            self._turn += 1
            for partition in partition_order(self._turn, keys.partitions):
                if partition in self._due:
                    await self._take(partition, lane_order(self._turn, queues))

    async def _take(self, partition: int, lanes: list[tuple[str, str]]) -> None:
        places = self._reserve()
        if not places:
            return
        self._due.discard(partition)  # a hint that comes from now on counts anew
        try:
            taken = await self._lease(partition, lanes, places)
        except Unavailable:
            self._due.add(partition)
            raise
        if taken == len(places):
            self._due.add(partition)  # there may be more

    async def _lease(
        self, partition: int, lanes: list[tuple[str, str]], places: list[Place]
    ) -> int:
        asked_at_s = time.monotonic()
        leases: list[Lease] = []
        # Once leased, a job must get its run: a drain may not come between the two.
        with anyio.CancelScope(shield=True):
            try:
                leases = await self._shared.dispatch.claim(partition, lanes, len(places))
            finally:
                for place in places[len(leases) :]:
                    place.berth.placed -= 1
        for lease, place in zip(leases, places, strict=False):
            self._start(lease, asked_at_s, place)
        return len(leases)

    def _reserve(self) -> list[Place]:
        places: list[Place] = []
        while len(places) < CLAIM_LIMIT and (place := self._shared.fleet.reserve()) is not None:
            places.append(place)
        return places

    async def _adopt_quietly(self) -> None:
        """Find leases that the server gave us in answers that were lost."""
        lanes = lane_order(0, self._shared.config.queues)
        asked_at_s = time.monotonic()
        try:
            held = await self._shared.dispatch.own_leases(lanes)
        except Unavailable:
            return
        for lease in held:
            if not self._shared.leases.holds(lease.job_id):
                self._start(lease, asked_at_s, None)
