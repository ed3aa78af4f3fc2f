"""What is read of a namespace for numbers about it, and kept for some seconds.

Rule: however many scrape or scale by a gateway, Redis is asked once in KEEP_S.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

from msgspec import Struct

from everfold.client import Everfold
from everfold.operations import BackendStatus, RunnerStatus
from everfold.projector.reading.lag import Lag, lag
from everfold.projector.subscribing.status import (
    SubscriptionSummary,
    subscription_summary,
    subscriptions,
)
from everfold.queue_operations import QueueStatus
from everfold.streams.redis.redis_errors import commands

T = TypeVar("T")

KEEP_S = 5.0
"""Seconds for which what was read is shown again."""

SUBSCRIPTIONS_LIMIT = 50
"""Subscriptions that are looked at: each costs a few commands a partition."""


class Sample(Struct, frozen=True, kw_only=True):
    """A namespace in numbers, as it was read last."""

    queues: Sequence[QueueStatus]
    later: int
    """Jobs that wait for a time."""
    backends: Sequence[BackendStatus]
    runners: Sequence[RunnerStatus]
    lags: Sequence[Lag]
    """Of the projection of jobs, by partition."""
    subscriptions: Sequence[SubscriptionSummary]


class Sampled:
    """Reads of one namespace that are shared."""

    def __init__(self, everfold: Everfold) -> None:
        self._everfold = everfold
        self._queues = _Kept(self._read_queues)
        self._backends = _Kept(everfold.backends)
        self._all = _Kept(self._read_all)

    async def queues(self) -> dict[str, QueueStatus]:
        """Return the queues by name. Raises a leaf of Unavailable."""
        return await self._queues.get()

    async def backends(self) -> Sequence[BackendStatus]:
        """Return the backends. Raises a leaf of Unavailable."""
        return await self._backends.get()

    async def all(self) -> Sample:
        """Return all of it. Raises a leaf of Unavailable."""
        return await self._all.get()

    async def _read_queues(self) -> dict[str, QueueStatus]:
        return {one.name: one for one in await self._everfold.queues()}

    async def _read_all(self) -> Sample:
        everfold, log = self._everfold, self._everfold.log
        queues = await self.queues()
        asked = [("ZCARD", log.keys.later(p)) for p in range(log.keys.partitions)]
        names = list(await subscriptions(log))[:SUBSCRIPTIONS_LIMIT]
        return Sample(
            queues=tuple(queues.values()),
            later=sum(cast("list[int]", await commands(log.redis, asked))),
            backends=await self.backends(),
            runners=await everfold.runners(),
            lags=await lag(log),
            subscriptions=[await subscription_summary(log, name) for name in names],
        )


class _Kept(Generic[T]):
    """Something that is read anew when it is older than KEEP_S, by one reader for all."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read, self._lock = read, asyncio.Lock()
        self._value: T | None = None
        self._until = 0.0

    async def get(self) -> T:
        async with self._lock:
            if self._value is None or time.monotonic() >= self._until:
                self._value = await self._read()
                self._until = time.monotonic() + KEEP_S
            return self._value
