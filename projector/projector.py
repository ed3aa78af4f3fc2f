"""A projector process: owns its share of the partitions and folds each of them.

Rule: several may run at any time; they share the partitions, and one that is frozen and wakes
changes nothing.
"""

from __future__ import annotations

import logging
import zlib

import anyio
import anyio.abc
from anyio import TASK_STATUS_IGNORED

from projector.balance import fair_share, surplus, to_try
from projector.config import ProjectorConfig
from projector.ownership import Ownership
from projector.partition import OwnershipLost, PartitionFold
from streams.backoff import Backoff
from streams.errors import EverfoldError, Unavailable
from streams.log import Log

logger = logging.getLogger("everfold.projector")


class Projector:
    def __init__(self, log: Log, name: str, config: ProjectorConfig | None = None) -> None:
        self._log = log
        self._config = config or ProjectorConfig()
        self._ownership = Ownership(log, name, self._config.own_for_s)
        self._folding: dict[int, anyio.CancelScope] = {}
        self._start = zlib.crc32(self._ownership.token.encode())
        self._tasks: anyio.abc.TaskGroup | None = None

    @property
    def partitions(self) -> list[int]:
        """The partitions that this process folds now."""
        return sorted(self._folding)

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
            with anyio.move_on_after(2, shield=True):
                await self._leave()

    async def _balance(self) -> None:
        partitions = self._log.keys.partitions
        live = await self._ownership.announce()
        for partition in self.partitions:
            if await self._ownership.own(partition) is None:
                self._stop(partition)
        for partition in surplus(self.partitions, partitions, live):
            self._stop(partition)
            await self._ownership.give_up(partition)
        for partition in to_try(self.partitions, partitions, live, self._start):
            if len(self._folding) < fair_share(partitions, live):
                await self._take(partition)

    async def _take(self, partition: int) -> None:
        checkpoint = await self._ownership.own(partition)
        if checkpoint is not None and self._tasks is not None:
            self._folding[partition] = anyio.CancelScope()
            self._tasks.start_soon(self._fold, partition, checkpoint)

    async def _fold(self, partition: int, checkpoint: str) -> None:
        scope = self._folding[partition]
        folding = PartitionFold(
            self._log, partition, self._ownership.token, checkpoint, self._config
        )
        try:
            with scope:
                await folding.run()
        except OwnershipLost as lost:
            logger.info("partition_lost partition=%s owner=%s", partition, lost)
        except Exception:
            # Given up at the next renewal; whoever takes it next reads the same entries.
            logger.exception("projector_broken partition=%s", partition)
            await anyio.sleep(self._config.renew_every_s)
        finally:
            if self._folding.get(partition) is scope:
                del self._folding[partition]

    def _stop(self, partition: int) -> None:
        self._folding.pop(partition).cancel()

    async def _leave(self) -> None:
        try:
            for partition in range(self._log.keys.partitions):
                await self._ownership.give_up(partition)
            await self._ownership.leave()
        except EverfoldError:
            return  # the leases run out by themselves
