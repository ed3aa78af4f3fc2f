"""A projector process: owns its share of the partitions and folds each of them.

Rule: several may run at any time; they share the partitions, and one that is frozen and wakes
changes nothing.
"""

from __future__ import annotations

import anyio.abc
from anyio import TASK_STATUS_IGNORED

from everfold.projector.assignment.ownership import Ownership
from everfold.projector.assignment.sharing import Share
from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.jobs import JobsProjection
from everfold.projector.folding.partition import PartitionFold
from everfold.projector.folding.projection import AnyProjection
from everfold.streams.appending.log import Log


class Projector:
    """Folds one projection, by default that of jobs; `name` is for people."""

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
        self._ownership = Ownership(log, self._projection.name, name, config.own_for_s)
        self._share = Share(
            self._ownership,
            log.keys.partitions,
            self._place,
            self._fold,
            config.renew_every_s,
        )

    @property
    def partitions(self) -> list[int]:
        """The partitions that this process folds now."""
        return self._share.partitions

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Fold until cancelled; waits while the server is away."""
        await self._share.run(task_status=task_status)

    def _place(self, partition: int) -> str:
        return self._projection.place(self._log.keys, partition).projector()

    async def _fold(self, partition: int) -> None:
        token = self._ownership.token
        await PartitionFold(self._log, partition, token, self._projection).run()
