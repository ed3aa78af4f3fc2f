"""Delivering one partition: read in order, hand over, acknowledge, again.

Rule: an entry is acknowledged when its event was delivered or is not wanted; those of held jobs
stay pending, which also keeps the log from being trimmed past them. Whatever goes wrong, the way
back is the same: forget what is in memory, take over all pending entries, go on in order.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import anyio
from msgspec.structs import replace

from everfold.projector.subscribing.acks import Acks, StartOver
from everfold.projector.subscribing.classify import Classification
from everfold.projector.subscribing.concurrency import Lanes
from everfold.projector.subscribing.held import GAP, Held
from everfold.projector.subscribing.status import read_held
from everfold.projector.subscribing.subscription import Subscription, TargetAway
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import BrokenChain, JobUnknown, Unavailable
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_order
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.redis.redis_errors import NoGroup, command, read_hash
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.scripts import Script
from everfold.streams.redis.server import server_time_ms
from everfold.streams.retention.history import job_history

logger = logging.getLogger("everfold.subscribing")

READ = 500
BLOCK_S = 1.0
"""How long a read waits: by so much a retry, or a person's wish, may be late."""

LONGEST_PAUSE_S = 15.0
"""Between tries while the target is away."""

FORGET_CONSUMER_AFTER_MS = 3_600_000

_forget_consumers = Script("everfold.projector", "forget_consumers")


class PartitionDelivery:
    """`token` is that of the process that owns the partition, and its consumer name."""

    def __init__(
        self,
        log: Log,
        partition: int,
        token: str,
        subscription: Subscription,
        archive: Archive | None = None,
    ) -> None:
        self._log, self._partition = log, partition
        self._subscription, self._archive = subscription, archive
        self._keys = log.keys.subscription(partition, subscription.name)
        self._group = ConsumerGroup(log, subscription.group, token, block_s=BLOCK_S)
        self._acks = Acks(log, partition, token, subscription)
        self._sorting = Classification(log, partition, subscription.wants, archive)
        self._held: dict[str, Held] = {}
        self._checkpoint, self._changes = NO_ENTRY, b"0"

    async def run(self) -> None:
        """Deliver until cancelled. Raises OwnershipLost."""
        backoff = Backoff(most_s=LONGEST_PAUSE_S)
        try:
            while True:
                try:
                    await self._start_over()
                    backoff.reset()
                    await self._go_on()
                except (Unavailable, NoGroup, StartOver, TargetAway) as why:
                    name = self._subscription.name
                    logger.warning("starts_over %s partition=%s %r", name, self._partition, why)
                await anyio.sleep(backoff.next_s())
        finally:
            with anyio.CancelScope(shield=True):
                await self._group.aclose()

    async def _start_over(self) -> None:
        """Go back to what is stored, and deliver what was read and never acknowledged."""
        stored = await read_hash(self._log.redis, self._keys.checkpoint())
        self._checkpoint = stored.get(b"checkpoint", NO_ENTRY.encode()).decode()
        self._changes = stored.get(b"changes", b"0")
        self._acks.forget(stored.get(b"resets", b"0").decode())
        self._sorting.forget(stored.get(b"began", NO_ENTRY.encode()).decode())
        self._held = await read_held(self._log, self._keys.held())
        await self._group.create(self._partition, self._checkpoint)
        await self._group.inherit(self._partition)
        key = self._log.keys.log(self._partition)
        limits = (FORGET_CONSUMER_AFTER_MS, self._subscription.group)
        await _forget_consumers.run(self._log.redis, (key,), limits)
        await self._deliver_pending()

    async def _deliver_pending(self) -> None:
        after = NO_ENTRY
        while batch := await self._group.read_pending(self._partition, after, READ):
            await self._work(batch)
            after = batch[-1].entry_id

    async def _go_on(self) -> None:
        while True:
            await self._retry_due()
            batch = await self._group.read_new(self._partition, READ)
            # Before anything is delivered: what a former owner holds may come before it.
            await self._look_for_changes()
            await self._look_for_strays()
            if batch:
                await self._work(batch)

    async def _work(self, batch: Sequence[Recorded]) -> None:
        """Deliver a batch, but for what waits behind a held event."""
        self._checkpoint = max(self._checkpoint, batch[-1].entry_id, key=entry_order)
        await self._hand_over([record for record in batch if record.job_id not in self._held], {})
        await self._acks.write(self._checkpoint)

    async def _hand_over(self, records: Sequence[Recorded], before: Mapping[str, Held]) -> None:
        found = await self._sorting.sort(records, self._acks)
        lanes = Lanes(self._subscription, self._acks, self._held, self._log, before)
        await lanes.run(found.deliveries)
        for job_id, why in found.parked.items():
            if job_id not in self._held:  # else it waits at an earlier event
                self._park(job_id, why)

    def _park(self, job_id: str, why: Held) -> None:
        name = self._subscription.name
        logger.error("job_parked %s job=%s seq=%s why=%r", name, job_id, why.seq, why.why)
        self._held[job_id] = why
        self._acks.held(job_id, why)

    async def _retry_due(self) -> None:
        due = await self._due()
        if not due:
            return
        before = {job_id: self._held.pop(job_id) for job_id in due}
        records = [
            record for job_id, held in before.items() for record in await self._since(job_id, held)
        ]
        await self._hand_over(records, before)
        for job_id in before:
            if job_id not in self._held:
                self._acks.free(job_id)
        await self._acks.write()

    async def _due(self) -> list[str]:
        """Return held jobs whose time has come, a few at a time: new events wait meanwhile."""
        waiting = {j: h.next_try_ms for j, h in self._held.items() if h.next_try_ms is not None}
        if not waiting:
            return []
        now_ms = await server_time_ms(self._log.redis)
        due = [job_id for job_id, try_ms in waiting.items() if try_ms <= now_ms]
        return due[: max(self._subscription.concurrency, self._subscription.batch)]

    async def _since(self, job_id: str, held: Held) -> list[Recorded]:
        """Return a job's events from the one it is held at, as far as they were taken."""
        try:
            # With the event before: after a skip there may be none that follows.
            found = await job_history(self._log, job_id, self._archive, max(0, held.seq - 2))
        except (BrokenChain, JobUnknown) as error:
            self._park(job_id, replace(held, why=str(error), cause=GAP, next_try_ms=None))
            return []
        limit = entry_order(self._checkpoint)
        taken = [record for record in found if entry_order(record.entry_id) <= limit]
        return [record for record in taken if record.seq >= held.seq]

    async def _look_for_strays(self) -> None:
        """Notice entries that a former owner was given as it froze: nobody would ask for them."""
        pending = await self._group.pending(self._partition)
        if set(pending.consumers) - {self._group.consumer}:
            raise StartOver("another consumer holds entries")

    async def _look_for_changes(self) -> None:
        """Notice that a person retried, skipped or reset."""
        found = await command(self._log.redis, "HGET", self._keys.checkpoint(), "changes")
        if (found or b"0") != self._changes:
            raise StartOver("a person changed what is held")
