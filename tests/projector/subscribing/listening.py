"""Subscribers of a test: what they were given, in order, and how they fail."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio

from everfold.projector.subscribing.consumer import Consumer
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.status import subscription_status
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.appending.log import Log
from tests.support.wait import eventually

SOON_S = (0.01, 0.02, 0.03)


class Listener:
    """Notes each delivery, or raises what `fails` says about it."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self.tries = 0
        self.at_once = self.most_at_once = 0
        self.fails: Callable[[Delivery], Exception | None] = lambda _: None
        self.pause: Callable[[Delivery], Awaitable[None]] | None = None

    async def __call__(self, delivery: Delivery) -> None:
        self.tries += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.pause is not None:
                await self.pause(delivery)
            if (error := self.fails(delivery)) is not None:
                raise error
            kind = delivery.type.removeprefix("job.")
            self.told[delivery.record.job_id].append((delivery.record.seq, kind))
        finally:
            self.at_once -= 1

    def kinds(self, job_id: str) -> list[str]:
        return [kind for _, kind in self.told[job_id]]

    @property
    def count(self) -> int:
        return sum(len(told) for told in self.told.values())


@contextlib.asynccontextmanager
async def consuming(
    log: Log, subscription: Subscription, name: str = "test"
) -> AsyncIterator[Consumer]:
    consumer = Consumer(log, name, subscription)
    async with anyio.create_task_group() as tasks:
        await tasks.start(consumer.run)
        yield consumer
        tasks.cancel_scope.cancel()


async def all_taken(log: Log, name: str) -> bool:
    """Say whether nothing is behind, waiting, or on its way."""
    return all(
        row.lag_events == 0 and row.waiting == 0 and not row.parked
        for row in await subscription_status(log, name)
    )


async def taken(log: Log, name: str, within_s: float = 30) -> None:
    await eventually(lambda: all_taken(log, name), within_s)
