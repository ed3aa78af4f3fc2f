"""What is read of a namespace for numbers about it, and kept for some seconds.

Rule: however many scrape or scale, Redis is asked once in KEEP_S, and a read has a bounded cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from everfold.client import Everfold
from everfold.metrics.queue_numbers import QueueNumbers, Queues, read_queues
from everfold.operations import BackendStatus, RunnerStatus
from everfold.projector.reading.lag import Lag, lag
from everfold.projector.subscribing.status import (
    SubscriptionSummary,
    subscription_summary,
    subscriptions,
)
from everfold.streams.appending.log import Log
from everfold.streams.queues.queue_counts import count_later
from everfold.streams.redis.each import each
from everfold.streams.redis.pages import hash_pages

T = TypeVar("T")

KEEP_S = 5.0
"""Seconds for which what was read is shown again."""

KEEP_ASSETS_S = 60.0

SUBSCRIPTIONS_LIMIT = 50
"""Subscriptions that are looked at: each costs a few commands a partition."""
LATER_LIMIT = 1_000
"""Jobs that wait for a time of which queue and priority are looked at."""
OWNERS_LIMIT = 10_000
"""Owners of stored files in a partition that are looked at."""


class Sample(Struct, frozen=True, kw_only=True):
    """A namespace in numbers, as it was read last."""

    queues: Queues
    later: Mapping[tuple[str, str], int]
    """Jobs that wait for a time, by queue and priority."""
    later_besides: int
    """Further ones, of which that is not looked at."""
    backends: Sequence[BackendStatus]
    runners: Sequence[RunnerStatus]
    lags: Sequence[Lag]
    """Of the projection of jobs, by partition."""
    subscriptions: Sequence[SubscriptionSummary]
    assets_bytes: int
    """Of all stored files; of OWNERS_LIMIT owners a partition at least."""


class Sampled:
    """Reads of one namespace that are shared."""

    def __init__(self, everfold: Everfold) -> None:
        self._everfold = everfold
        self._backends = _Kept(everfold.backends)
        self._runners = _Kept(everfold.runners)
        self._queues = _Kept(self._read_queues)
        self._later = _Kept(lambda: count_later(everfold.log, LATER_LIMIT))
        self._assets = _Kept(lambda: _assets_bytes(everfold.log), KEEP_ASSETS_S)
        self._all = _Kept(self._read_all)

    async def queues(self) -> Queues:
        """Return the queues. Raises a leaf of Unavailable."""
        return await self._queues.get()

    async def queue(self, name: str) -> QueueNumbers | None:
        """Return one queue, None for one that is not known. Raises a leaf of Unavailable.

        One that is not among those that are looked at is read by itself: a queue of that many
        others may wait for its first runner.
        """
        queues = await self.queues()
        if name not in queues.by_name and queues.count > len(queues.by_name):
            runners = await self.runners()
            queues = await read_queues(self._everfold, await self.backends(), runners, name)
        return queues.by_name.get(name)

    async def backends(self) -> Sequence[BackendStatus]:
        """Return the backends. Raises a leaf of Unavailable."""
        return await self._backends.get()

    async def runners(self) -> Sequence[RunnerStatus]:
        """Return the runners. Raises a leaf of Unavailable."""
        return await self._runners.get()

    async def later(self) -> tuple[Mapping[tuple[str, str], int], int]:
        """Return the jobs that wait for a time, by queue and priority, and how many more there
        are. Raises a leaf of Unavailable."""
        return await self._later.get()

    async def all(self) -> Sample:
        """Return all of it. Raises a leaf of Unavailable."""
        return await self._all.get()

    async def _read_queues(self) -> Queues:
        return await read_queues(self._everfold, await self.backends(), await self.runners())

    async def _read_all(self) -> Sample:
        log = self._everfold.log
        later, besides = await self.later()
        names = list(await subscriptions(log))[:SUBSCRIPTIONS_LIMIT]
        return Sample(
            queues=await self.queues(),
            later=later,
            later_besides=besides,
            backends=await self.backends(),
            runners=await self.runners(),
            lags=await lag(log),
            subscriptions=[await subscription_summary(log, name) for name in names],
            assets_bytes=await self._assets.get(),
        )


async def _assets_bytes(log: Log) -> int:
    async def count(partition: int) -> int:
        total = owners = 0
        async for page in hash_pages(log.redis, log.keys.assets(partition).owners()):
            total += sum(int(text) for text in page.values() if text.isdigit() and len(text) < 20)
            owners += len(page)
            if owners >= OWNERS_LIMIT:
                break
        return total

    return sum((await each(log, count)).all())


class _Kept(Generic[T]):
    """Something that is read anew when it is older than `keep_s`, by one reader for all."""

    def __init__(self, read: Callable[[], Awaitable[T]], keep_s: float = KEEP_S) -> None:
        self._read, self._keep_s, self._lock = read, keep_s, asyncio.Lock()
        self._value: T | None = None
        self._until = 0.0

    async def get(self) -> T:
        async with self._lock:
            if self._value is None or time.monotonic() >= self._until:
                self._value = await self._read()
                self._until = time.monotonic() + self._keep_s
            return self._value
