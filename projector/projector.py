"""A projector process: owns its share of the partitions and folds each of them.

Rule: several may run at any time; they share the partitions, and one that is frozen and wakes
changes nothing.
"""

from __future__ import annotations

import contextlib
import logging
import zlib

import anyio
import anyio.abc
from anyio import TASK_STATUS_IGNORED

from projector.balance import fair_share, surplus, to_try
from projector.config import ProjectorConfig
from projector.jobs import JobsProjection
from projector.ownership import Owned, Ownership
from projector.partition import OwnershipLost, PartitionFold
from projector.projection import AnyProjection
from streams.backoff import Backoff
from streams.errors import EverfoldError, Unavailable
from streams.log import Log

logger = logging.getLogger("everfold.projector")

GOODBYE_S = 2.0
"""Longest time to say that a partition is free; then its lease runs out by itself."""


class Projector:
    """Folds one projection, by default that of jobs; `name` is for people."""

    def __init__(
        self,
        log: Log,
        name: str,
        config: ProjectorConfig | None = None,
        projection: AnyProjection | None = None,
    ) -> None:
        self._log = log
        self._config = config or ProjectorConfig()
        self._projection = projection or JobsProjection(self._config)
        self._ownership = Ownership(log, self._projection.name, name, self._config.own_for_s)
        self._folding: dict[int, anyio.CancelScope] = {}
        self._start = zlib.crc32(self._ownership.token.encode())
        self._tasks: anyio.abc.TaskGroup | None = None

    @property
    def partitions(self) -> list[int]:
        """The partitions that this process folds now."""
        running = self._folding.items()
        return sorted(partition for partition, scope in running if not scope.cancel_called)

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Fold until cancelled; waits while the server is away."""
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
                        await anyio.sleep(self._config.renew_every_s)
                    except Unavailable:
                        await anyio.sleep(backoff.next_s())
        finally:
            with anyio.move_on_after(GOODBYE_S, shield=True), contextlib.suppress(EverfoldError):
                await self._ownership.leave()

    async def _balance(self) -> None:
        partitions = self._log.keys.partitions
        live = await self._ownership.announce()
        for partition in self.partitions:
            owned = await self._own(partition)
            if owned is None or owned.anew:
                self._stop(partition)  # to be begun anew, if it is ours
        for partition in surplus(self.partitions, partitions, live):
            self._stop(partition)
        for partition in to_try(self.partitions, partitions, live, self._start):
            if len(self._folding) < fair_share(partitions, live) and partition not in self._folding:
                await self._take(partition)

    async def _own(self, partition: int) -> Owned | None:
        return await self._ownership.own(self._place(partition))

    def _place(self, partition: int) -> str:
        return self._projection.place(self._log.keys, partition).projector()

    def _stop(self, partition: int) -> None:
        if partition in self._folding:
            self._folding[partition].cancel()

    async def _take(self, partition: int) -> None:
        if await self._own(partition) and self._tasks is not None:
            self._folding[partition] = anyio.CancelScope()
            self._tasks.start_soon(self._fold, partition)

    async def _fold(self, partition: int) -> None:
        folding = PartitionFold(self._log, partition, self._ownership.token, self._projection)
        try:
            with self._folding[partition]:
                await folding.run()
        except OwnershipLost as lost:
            logger.info("partition_lost partition=%s owner=%s", partition, lost)
        except Exception:
            # Another process may do better; where there is none, this one tries again.
            logger.exception("projector_broken partition=%s", partition)
            await self._let_go(partition)
            await anyio.sleep(self._config.renew_every_s)
        finally:
            await self._let_go(partition)
            del self._folding[partition]

    async def _let_go(self, partition: int) -> None:
        """Give the partition up, now that its reader is closed and can be given no more entries."""
        self._folding[partition].cancel()
        with anyio.move_on_after(GOODBYE_S, shield=True), contextlib.suppress(EverfoldError):
            await self._ownership.give_up(self._place(partition))
