"""A consumer: delivers the partitions of a subscription that are assigned to it."""

from __future__ import annotations

import contextlib

import anyio
import anyio.abc
from anyio import TASK_STATUS_IGNORED

from everfold.projector.assignment.assignment import Assignment
from everfold.projector.assignment.member import Member
from everfold.projector.assignment.places import Places
from everfold.projector.subscribing.admin import create, delete_keys
from everfold.projector.subscribing.partition_delivery import PartitionDelivery
from everfold.projector.subscribing.status import is_listed, subscriptions
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import EverfoldError, SubscriptionUnknown
from everfold.streams.reading.quiet_partitions import QuietPartitions
from everfold.streams.redis.retry import with_retry

LEASE_S = 5.0
"""How long a partition's lease lasts without a renewal."""

RENEW_EVERY_S = 1.0

LISTED_EVERY_S = 2.0
"""How often a consumer asks whether its subscription was removed."""


class Consumer:
    """One process of a subscription; several, on any machines, share its partitions.

    `name` is shown to people as the owner of partitions; several may have the same. `archive` has
    the beginnings of jobs that were trimmed from the log.
    """

    def __init__(
        self, log: Log, name: str, subscription: Subscription, archive: Archive | None = None
    ) -> None:
        self._log, self._subscription, self._archive = log, subscription, archive
        self._is_removed = False
        self._member = Member(log, subscription.group, name, LEASE_S)
        self._places = Places(log, subscription.group, self._lease_key)
        self._quiet = QuietPartitions(log, subscription.group)
        self._assignment = Assignment(
            self._member, log.keys.partitions, self._lease_key, self._deliver, RENEW_EVERY_S
        )

    @property
    def partitions(self) -> list[int]:
        """The partitions that this consumer delivers now, in order."""
        return self._assignment.partitions

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Create the subscription if it is new, then deliver until cancelled.

        Waits while the server is unavailable. A cancel lets deliveries that have begun finish, then
        releases the partitions; events that were read and not delivered stay pending. Raises
        Misconfigured for a `start` that makes no sense, Unavailable only before it has started, and
        SubscriptionUnknown once the subscription was removed.
        """
        await with_retry(lambda: create(self._log, self._subscription), self._log.retry_for_s)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._cancel_when_removed, tasks.cancel_scope)
                await self._assignment.run(task_status=task_status)
        finally:
            with anyio.CancelScope(shield=True):
                await self._quiet.aclose()
        if self._is_removed:
            await self._end_removed()

    async def _cancel_when_removed(self, scope: anyio.CancelScope) -> None:
        while not self._is_removed:
            await anyio.sleep(LISTED_EVERY_S)
            with contextlib.suppress(EverfoldError):
                self._is_removed = not await is_listed(self._log, self._subscription.name)
        scope.cancel()

    async def _end_removed(self) -> None:
        """Delete what this consumer may have written after the removal, and say why it ends."""
        log, name = self._log, self._subscription.name
        known = await subscriptions(log)
        if name not in known:
            await delete_keys(log, name)
        raise SubscriptionUnknown(name, tuple(known))

    def _lease_key(self, partition: int) -> str:
        return self._log.keys.subscription(partition, self._subscription.name).checkpoint()

    async def _deliver(self, partition: int) -> None:
        await PartitionDelivery(
            self._log,
            partition,
            self._member.token,
            self._subscription,
            self._archive,
            places=self._places,
            quiet=self._quiet,
        ).run()
