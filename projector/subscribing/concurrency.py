"""Handing deliveries over: several jobs at the same time, each job in its order.

Rule: a delivery that has begun is finished even when we are told to stop, and written down before
the next one begins; what fails holds its job and nobody else's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import anyio
import anyio.lowlevel

from everfold.projector.assignment.sharing import OwnershipLost
from everfold.projector.subscribing.acks import Acks, StartOver
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.held import REFUSED, Held, hold, park
from everfold.projector.subscribing.subscription import GiveUp, Subscription, TargetAway, TryLater
from everfold.streams.appending.log import Log
from everfold.streams.errors import Unavailable
from everfold.streams.redis.server import server_time_ms

logger = logging.getLogger("everfold.subscribing")

STOPS = (Unavailable, TargetAway, OwnershipLost, StartOver)
"""What stops the whole partition, whatever the job."""


class Lanes:
    """`before` says how jobs that are tried again were held."""

    def __init__(
        self,
        subscription: Subscription,
        acks: Acks,
        held: dict[str, Held],
        log: Log,
        before: Mapping[str, Held] | None = None,
    ) -> None:
        self._subscription, self._acks = subscription, acks
        self._held, self._log, self._before = held, log, before or {}
        self._stopped: Exception | None = None

    async def run(self, deliveries: Sequence[Delivery]) -> None:
        """Deliver all. Raises one of STOPS when the partition cannot go on, once what had begun
        is finished; what was not begun stays pending."""
        limiter = anyio.CapacityLimiter(self._subscription.concurrency)
        async with anyio.create_task_group() as tasks:
            for lane in self._lanes(deliveries):
                tasks.start_soon(self._lane, lane, limiter)
        if self._stopped is not None:
            raise self._stopped

    def _lanes(self, deliveries: Sequence[Delivery]) -> Iterator[list[list[Delivery]]]:
        size = self._subscription.batch
        if size > 1:
            yield [list(deliveries[at : at + size]) for at in range(0, len(deliveries), size)]
            return
        by_job: dict[str, list[list[Delivery]]] = {}
        for delivery in deliveries:
            by_job.setdefault(delivery.record.job_id, []).append([delivery])
        yield from by_job.values()

    async def _lane(self, lane: list[list[Delivery]], limiter: anyio.CapacityLimiter) -> None:
        async with limiter:
            for chunk in lane:
                await self._step(chunk)

    async def _step(self, chunk: Sequence[Delivery]) -> None:
        ready = [delivery for delivery in chunk if delivery.record.job_id not in self._held]
        if self._stopped is not None or not ready:
            return
        await anyio.lowlevel.checkpoint()  # here we may be stopped, and not in mid-delivery
        try:
            with anyio.CancelScope(shield=True):
                await self._deliver(ready)
                await self._acks.write()
        except STOPS as why:
            self._stopped = why

    async def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        try:
            with anyio.fail_after(self._subscription.timeout_s):
                await self._subscription.deliver(deliveries)
        except STOPS:
            raise
        except Exception as error:
            if len(deliveries) == 1:
                await self._hold(deliveries[0], error)
                return
        else:
            self._acks.delivered(*(delivery.record.entry_id for delivery in deliveries))
            return
        for delivery in deliveries:  # one by one, to find the one that fails
            if delivery.record.job_id not in self._held:
                await self._deliver([delivery])

    async def _hold(self, delivery: Delivery, error: Exception) -> None:
        record = delivery.record
        held = await self._holding(delivery, error)
        level = logging.ERROR if held.is_parked else logging.WARNING
        logger.log(
            level,
            "%s %s job=%s seq=%s failures=%s why=%r",
            "job_parked" if held.is_parked else "job_held",
            self._subscription.name,
            *(record.job_id, record.seq, held.failures, held.why),
        )
        self._held[record.job_id] = held
        self._acks.held(record.job_id, held)

    async def _holding(self, delivery: Delivery, error: Exception) -> Held:
        why = _reason(error, self._subscription.timeout_s)
        if isinstance(error, GiveUp):
            return park(delivery.record, why, REFUSED)
        return hold(
            delivery.record,
            why,
            now_ms=await server_time_ms(self._log.redis),
            waits_s=self._subscription.retry_s,
            before=self._before.get(delivery.record.job_id),
            after_s=error.after_s if isinstance(error, TryLater) else None,
        )


def _reason(error: Exception, timeout_s: float) -> str:
    if isinstance(error, GiveUp | TryLater):
        return str(error)
    if isinstance(error, TimeoutError) and not str(error):
        return f"not done after {timeout_s:g} s"
    return f"{type(error).__name__}: {error}"
