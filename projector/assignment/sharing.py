"""One process's share of the partitions: it works on those it owns, and gives up what is too much.

Rule: several processes may run at any time. One that comes is given its share, one that goes or
dies leaves its own to the others; what two of them do at once is harmless by the scripts' checks.
"""

from __future__ import annotations

import contextlib
import logging
import zlib
from collections.abc import Awaitable, Callable

import anyio
import anyio.abc
from anyio import TASK_STATUS_IGNORED

from everfold.projector.assignment.balance import fair_share, surplus, to_try
from everfold.projector.assignment.ownership import Owned, Ownership
from everfold.streams.errors import EverfoldError, Unavailable
from everfold.streams.redis.retry import Backoff

logger = logging.getLogger("everfold.projector")

GOODBYE_S = 2.0
"""Longest time to say that a partition is free; then its lease runs out by itself."""


class OwnershipLost(Exception):
    """Another process owns the partition; what it writes counts, ours does not."""


class Share:
    """`work` is done for each owned partition until it is cancelled or raises OwnershipLost;
    `place` gives the key of the hash that says who owns a partition."""

    def __init__(
        self,
        ownership: Ownership,
        partitions: int,
        place: Callable[[int], str],
        work: Callable[[int], Awaitable[None]],
        renew_every_s: float,
    ) -> None:
        self._ownership, self._all = ownership, partitions
        self._place, self._work = place, work
        self._renew_every_s = renew_every_s
        self._working: dict[int, anyio.CancelScope] = {}
        self._start = zlib.crc32(ownership.token.encode())
        self._tasks: anyio.abc.TaskGroup | None = None

    @property
    def partitions(self) -> list[int]:
        """The partitions that this process works on now."""
        running = self._working.items()
        return sorted(partition for partition, scope in running if not scope.cancel_called)

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Work until cancelled; waits while the server is away."""
        backoff = Backoff()
        started = False
        try:
            async with anyio.create_task_group() as self._tasks:
                while True:
                    try:
                        await self._balance()
                        backoff.reset()
                        if not started:
                            task_status.started()
                            started = True
                        await anyio.sleep(self._renew_every_s)
                    except Unavailable:
                        await anyio.sleep(backoff.next_s())
        finally:
            with anyio.move_on_after(GOODBYE_S, shield=True), contextlib.suppress(EverfoldError):
                await self._ownership.leave()

    async def _balance(self) -> None:
        live = await self._ownership.announce()
        for partition in list(self._working):  # also those that are to stop, until they have
            owned = await self._own(partition)
            if owned is None or owned.anew:
                self._stop(partition)  # to be begun anew, if it is ours
        for partition in surplus(self.partitions, self._all, live):
            self._stop(partition)
        for partition in to_try(self.partitions, self._all, live, self._start):
            if len(self._working) < fair_share(self._all, live) and partition not in self._working:
                await self._take(partition)

    async def _own(self, partition: int) -> Owned | None:
        return await self._ownership.own(self._place(partition))

    def _stop(self, partition: int) -> None:
        if partition in self._working:
            self._working[partition].cancel()

    async def _take(self, partition: int) -> None:
        if await self._own(partition) and self._tasks is not None:
            self._working[partition] = anyio.CancelScope()
            self._tasks.start_soon(self._carry, partition)

    async def _carry(self, partition: int) -> None:
        try:
            with self._working[partition]:
                await self._work(partition)
        except OwnershipLost as lost:
            logger.info("partition_lost partition=%s owner=%s", partition, lost)
        except Exception:
            # Another process may do better; where there is none, this one tries again.
            logger.exception("partition_broken partition=%s", partition)
            await self._let_go(partition)
            await anyio.sleep(self._renew_every_s)
        finally:
            await self._let_go(partition)
            del self._working[partition]

    async def _let_go(self, partition: int) -> None:
        """Give the partition up, now that its reader is closed and can be given no more entries."""
        self._working[partition].cancel()
        with anyio.move_on_after(GOODBYE_S, shield=True), contextlib.suppress(EverfoldError):
            await self._ownership.give_up(self._place(partition))
