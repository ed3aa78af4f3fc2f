"""A consumer process: takes its share of a subscription's partitions and delivers each of them."""

from __future__ import annotations

import anyio
import anyio.abc
from anyio import TASK_STATUS_IGNORED

from everfold.projector.assignment.ownership import Ownership
from everfold.projector.assignment.sharing import Share
from everfold.projector.subscribing.admin import begin
from everfold.projector.subscribing.partition import PartitionDelivery
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.redis.retry import with_retry

OWN_FOR_S = 5.0
"""How long a partition stays with a consumer that gives no sign of life."""

RENEW_EVERY_S = 1.0


class Consumer:
    """Several of one subscription share its partitions, also over machines; `name` is for people.

    `archive` is where the beginnings of jobs are that were trimmed from the log.
    """

    def __init__(
        self, log: Log, name: str, subscription: Subscription, archive: Archive | None = None
    ) -> None:
        self._log, self._subscription, self._archive = log, subscription, archive
        self._ownership = Ownership(log, subscription.group, name, OWN_FOR_S)
        self._share = Share(
            self._ownership, log.keys.partitions, self._place, self._deliver, RENEW_EVERY_S
        )

    @property
    def partitions(self) -> list[int]:
        """The partitions that this process delivers now."""
        return self._share.partitions

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Deliver until cancelled; deliveries that have begun are finished then.

        Waits while the server is away. Raises Misconfigured for a start that makes no sense.
        """
        await with_retry(lambda: begin(self._log, self._subscription), self._log.retry_for_s)
        await self._share.run(task_status=task_status)

    def _place(self, partition: int) -> str:
        return self._log.keys.subscription(partition, self._subscription.name).checkpoint()

    async def _deliver(self, partition: int) -> None:
        await PartitionDelivery(
            self._log, partition, self._ownership.token, self._subscription, self._archive
        ).run()
