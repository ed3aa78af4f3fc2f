"""A projector: folds the partitions that are assigned to it.

Rule: any number may run, and share the partitions. One that was frozen and goes on changes nothing.
"""

from __future__ import annotations

import anyio
import anyio.abc
from anyio import TASK_STATUS_IGNORED

from everfold.projector.assignment.assignment import Assignment
from everfold.projector.assignment.member import Member
from everfold.projector.assignment.places import Places
from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.partition_projector import PartitionProjector
from everfold.projector.folding.projection import AnyProjection
from everfold.streams.appending.log import Log
from everfold.streams.reading.shared_reader import SharedReader
from everfold.streams.redis.retry import with_retry


class Projector:
    """Folds one projection, by default that of jobs, in a process that has an open log.

    `name` is shown to people as the owner of partitions; several may have the same.
    """

    def __init__(
        self,
        log: Log,
        name: str,
        config: ProjectorConfig | None = None,
        projection: AnyProjection | None = None,
    ) -> None:
        config = config or ProjectorConfig()
        self._log = log
        self._projection = projection or JobsProjection(config)
        self._member = Member(log, self._projection.name, name, config.own_for_s)
        self._places = Places(log, self._projection.group, self._lease_key)
        self._shared = SharedReader(log, self._projection.group)
        self._assignment = Assignment(
            self._member,
            log.keys.partitions,
            self._lease_key,
            self._fold,
            config.renew_every_s,
        )

    @property
    def partitions(self) -> list[int]:
        """The partitions that this projector folds now, in order."""
        return self._assignment.partitions

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Fold until cancelled; waits while the server is unavailable.

        At the end it releases its partitions; what was read and not committed stays pending for
        their next owners.
        """
        await with_retry(self._log.make, self._log.retry_for_s)
        try:
            await self._assignment.run(task_status=task_status)
        finally:
            with anyio.CancelScope(shield=True):
                await self._shared.aclose()

    def _lease_key(self, partition: int) -> str:
        return self._projection.keys(self._log.keys, partition).projector()

    async def _fold(self, partition: int) -> None:
        log, token = self._log, self._member.token
        await PartitionProjector(
            log, partition, token, self._projection, places=self._places, shared=self._shared
        ).run()
