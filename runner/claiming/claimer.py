"""Takes waiting jobs while the fleet has room.

Rule: never takes a job without a reserved slot for it. It looks on a hint, when room becomes free,
and every `poll_every_s`. It asks only partitions that may have a waiting job: those of a hint,
those that had more than it took, and all of them once per poll. Partitions, queues and priorities
take turns (streams/leases/fairness.py).
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from everfold.runner.claiming.trouble import LONGEST_PAUSE_S, note_trouble
from everfold.runner.execution.fleet import Reservation
from everfold.runner.execution.shared import Shared
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import CorruptLog, EverfoldError
from everfold.streams.leases.fairness import lane_order, partition_order
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.steady_clock import steady_s

CLAIM_LIMIT = 16
"""Jobs claimed in one call: an event is made in advance for each, whether there is one or not."""

Start = Callable[[Lease, float, Reservation | None], None]
"""Starts a job run: the lease, `steady_s()` before it was asked for, the reserved slot."""


class Claimer:
    """Claims jobs and calls `start` for each, which then owns the lease and the reservation."""

    def __init__(self, shared: Shared, start: Start) -> None:
        self._shared = shared
        self._start = start
        self._woken = anyio.Event()
        self._turn = 0
        self._due = self._all()
        """Partitions that may have a waiting job."""
        self._looked_at_all_s = 0.0

    def _all(self) -> set[int]:
        return set(range(self._shared.log.keys.partitions))

    def wake(self, partition: str = "") -> None:
        """Look for work now: in the partition of this number, or in all when it is no number."""
        is_number = partition.isascii() and partition.isdigit() and len(partition) < 10
        self._due |= {int(partition)} & self._all() if is_number else self._all()
        self._woken.set()

    async def run(self) -> None:
        """Claim until cancelled; while the server is away, try again with back-off."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._wake_on_room)
            await self._take_forever()

    async def _wake_on_room(self) -> None:
        while True:
            await self._shared.fleet.changed()
            if self._due:
                self._woken.set()

    async def _take_forever(self) -> None:
        backoff = Backoff(most_s=LONGEST_PAUSE_S)
        while True:
            with anyio.move_on_after(self._shared.config.poll_every_s):
                await self._woken.wait()
            self._woken = anyio.Event()
            self._look_at_all_in_time()
            try:
                await self._take_round()
                backoff.reset()
            except EverfoldError as error:
                note_trouble("claimer", error)
                await anyio.sleep(backoff.next_s())
                await self._start_unanswered()

    def _look_at_all_in_time(self) -> None:
        """Make all partitions due once per `poll_every_s`, even while hints never stop."""
        now_s = steady_s()
        if now_s - self._looked_at_all_s >= self._shared.config.poll_every_s:
            self._due = self._all()
            self._looked_at_all_s = now_s

    async def _take_round(self) -> None:
        """Claim from the due partitions until none is due or there is no room."""
        keys, queues = self._shared.log.keys, self._shared.config.queues
        while self._due and self._shared.fleet.room:
            self._turn += 1
            for partition in partition_order(self._turn, keys.partitions):
                if partition in self._due:
                    await self._take(partition, lane_order(self._turn, queues))

    async def _take(self, partition: int, lanes: list[tuple[str, str]]) -> None:
        reservations = self._reserve()
        if not reservations:
            return
        self._due.discard(partition)  # before the claim: a hint that comes during it counts
        try:
            taken = await self._lease(partition, lanes, reservations)
        except CorruptLog as error:
            note_trouble(f"claimer {partition}", error)  # the other partitions go on
            return
        except EverfoldError:
            self._due.add(partition)
            raise
        if taken == len(reservations):
            self._due.add(partition)  # there may be more

    async def _lease(
        self, partition: int, lanes: list[tuple[str, str]], reservations: list[Reservation]
    ) -> int:
        asked_at_s = steady_s()
        leases: list[Lease] = []
        # A leased job must get its run: a drain must not cancel between the two.
        with anyio.CancelScope(shield=True):
            try:
                leases = await self._shared.dispatch.claim(partition, lanes, len(reservations))
            finally:
                self._shared.fleet.release_unused(reservations[len(leases) :])
        for lease, reservation in zip(leases, reservations, strict=False):
            self._start(lease, asked_at_s, reservation)
        return len(leases)

    def _reserve(self) -> list[Reservation]:
        reservations: list[Reservation] = []
        while (
            len(reservations) < CLAIM_LIMIT
            and (reservation := self._shared.fleet.reserve()) is not None
        ):
            reservations.append(reservation)
        return reservations

    async def _start_unanswered(self) -> None:
        """Start the jobs whose leases the server gave in answers that were lost."""
        lanes = lane_order(0, self._shared.config.queues)
        asked_at_s = steady_s()
        try:
            held = await self._shared.dispatch.own_leases(lanes)
        except EverfoldError:
            return
        for lease in held:
            if not self._shared.leases.holds(lease.job_id):
                self._start(lease, asked_at_s, None)
