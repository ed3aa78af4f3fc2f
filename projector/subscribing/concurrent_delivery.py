"""Delivers several jobs at the same time, each job in its order.

Rule: a delivery that has begun is finished and acknowledged even when its consumer is cancelled. A
delivery that fails holds its own job and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from everfold.projector.assignment.assignment import PartitionLeaseLost
from everfold.projector.subscribing.acks import Acks, StartOver
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.held import REFUSED, Held, hold, park
from everfold.projector.subscribing.opened import opened
from everfold.projector.subscribing.subscription import GiveUp, Subscription, TargetAway, TryLater
from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.border.sealed_form import is_sealed
from everfold.streams.errors import OUTAGES, EverfoldError
from everfold.streams.redis.server import server_time_ms

logger = get_logger("everfold.subscribing")

STOPS = (*OUTAGES, TargetAway, PartitionLeaseLost, StartOver)
"""Errors that stop the whole partition, whatever the job."""

Chunks = list[Sequence[Delivery]]
"""Deliveries to be made one chunk after the other."""


class ConcurrentDelivery:
    """Delivers one batch of a partition.

    It acknowledges through `acks`, and adds each job whose delivery fails to `held`. `before` says
    how jobs that are tried again were held.
    """

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
        """Deliver all, and acknowledge each chunk when it is done.

        Raises one of STOPS when the partition cannot go on; deliveries that had begun are finished
        by then, the others stay pending.
        """
        limiter = anyio.CapacityLimiter(self._subscription.concurrency)
        async with anyio.create_task_group() as tasks:
            for chunks in self._in_sequences(deliveries):
                tasks.start_soon(self._deliver_in_order, chunks, limiter)
        if self._stopped is not None:
            raise self._stopped

    def _in_sequences(self, deliveries: Sequence[Delivery]) -> Iterator[Chunks]:
        """Yield one sequence per job; only one where the subscription takes batches."""
        size = self._subscription.batch
        if size > 1:
            yield [deliveries[at : at + size] for at in range(0, len(deliveries), size)]
            return
        by_job: dict[str, Chunks] = {}
        for delivery in deliveries:
            by_job.setdefault(delivery.record.job_id, []).append([delivery])
        yield from by_job.values()

    async def _deliver_in_order(self, chunks: Chunks, limiter: anyio.CapacityLimiter) -> None:
        async with limiter:
            for chunk in chunks:
                await self._deliver_and_acknowledge(chunk)

    async def _deliver_and_acknowledge(self, chunk: Sequence[Delivery]) -> None:
        ready = [delivery for delivery in chunk if delivery.record.job_id not in self._held]
        if self._stopped is not None or not ready:
            return
        await anyio.lowlevel.checkpoint()  # a cancel takes effect here, not in mid-delivery
        try:
            with anyio.CancelScope(shield=True):
                await self._deliver(ready)
                await self._acks.write()
        except (*STOPS, EverfoldError) as error:
            self._stopped = error

    async def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        try:
            with anyio.fail_after(self._subscription.timeout_s):
                opened_ones = [await opened(self._log, delivery) for delivery in deliveries]
                await _call(self._subscription, opened_ones)
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
        held = await self._held_by(delivery, error)
        name = self._subscription.name
        told = (name, record.job_id, record.seq, held.failures, held.why)
        if held.is_parked:
            logger.error("job_parked subscription=%s job=%s seq=%s failures=%s why=%r", *told)
        elif not isinstance(error, TryLater) or error.counts:
            logger.warning("job_held subscription=%s job=%s seq=%s failures=%s why=%r", *told)
        if is_sealed(delivery.job.metadata):  # the error may repeat what was delivered
            held = replace(held, why=await self._log.sealed_text(record.job_id, held.why))
        self._held[record.job_id] = held
        self._acks.held(record.job_id, held)

    async def _held_by(self, delivery: Delivery, error: Exception) -> Held:
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
            counts=error.counts if isinstance(error, TryLater) else True,
        )


async def _call(subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
    """Call the subscriber. That what it waited for was cancelled is an error like any other."""
    try:
        await subscription.deliver(deliveries)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # it took too long
        # Passed on, it would end the whole batch as if all of it were delivered.
        raise RuntimeError("something that it waited for was cancelled") from error


def _reason(error: Exception, timeout_s: float) -> str:
    if isinstance(error, GiveUp | TryLater):
        return str(error)
    if isinstance(error, TimeoutError) and not str(error):
        return f"not done after {timeout_s:g} s"
    return f"{type(error).__name__}: {error}"
