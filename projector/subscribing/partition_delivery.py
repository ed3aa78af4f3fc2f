"""Delivers one partition of a subscription: read, classify, deliver, acknowledge, again.

Rule: an entry is acknowledged when its event was delivered or is not wanted. Entries of held jobs
stay pending, so the log is not trimmed past them. After any error the way back is the same: drop
what is in memory, take over all pending entries, go on in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import anyio
from msgspec.structs import replace

from everfold.projector.assignment.places import Place, Places
from everfold.projector.subscribing.acks import Acks, StartOver
from everfold.projector.subscribing.admin import create_again
from everfold.projector.subscribing.classify import Classifier
from everfold.projector.subscribing.concurrent_delivery import ConcurrentDelivery
from everfold.projector.subscribing.held import GAP, Held
from everfold.projector.subscribing.status import read_held
from everfold.projector.subscribing.subscription import Subscription, TargetAway
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import BrokenChain, EverfoldError, JobUnknown, WrongKeyType
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_order
from everfold.streams.events.stored_fields import stored_entry_id
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.quiet_partitions import QuietPartitions
from everfold.streams.reading.quiet_reader import QuietReader
from everfold.streams.redis.pages import PAGE_BYTES
from everfold.streams.redis.redis_errors import read_hash
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.script import Script
from everfold.streams.redis.server import server_time_ms
from everfold.streams.retention.history import job_history

logger = get_logger("everfold.subscribing")

READ = 500
BLOCK_S = 1.0
"""How long a read waits; a retry may be late by as much, an operator's wish by twice as much."""

CLOCK_STEP_MS = 2_000

LONGEST_PAUSE_S = 15.0
"""Between tries while the target is away."""

DELETE_CONSUMER_AFTER_MS = 3_600_000
"""An idle consumer of the group without pending entries is deleted after an hour."""

_delete_consumers = Script("everfold.projector", "delete_consumers")


class PartitionDelivery:
    """Delivers one partition, under the lease of the process with this `token`.

    The token is the consumer's name, too. `places` and `quiet` are those of all partitions of the
    process. `archive` has the beginnings of jobs that were trimmed.
    """

    def __init__(
        self,
        log: Log,
        partition: int,
        token: str,
        subscription: Subscription,
        archive: Archive | None = None,
        *,
        places: Places,
        quiet: QuietPartitions,
    ) -> None:
        self._log, self._partition = log, partition
        self._places = places
        self._subscription, self._archive = subscription, archive
        self._keys = log.keys.subscription(partition, subscription.name)
        self._group = ConsumerGroup(log, subscription.group, token, block_s=BLOCK_S)
        self._quiet = QuietReader(quiet, partition, BLOCK_S, self._group.rest)
        self._acks = Acks(log, partition, token, subscription)
        self._classifier = Classifier(log, partition, subscription.wants, archive)
        self._held: dict[str, Held] = {}
        self._started_at_s = 0.0
        self._looked_at_ms = 0
        """Server time of the last look for held jobs that are due."""
        self._checkpoint, self._changes = NO_ENTRY, b"0"

    async def run(self) -> None:
        """Deliver until cancelled; waits while the target is away, and whatever the server answers.

        A cancel lets deliveries that have begun finish. Raises PartitionLeaseLost.
        """
        backoff = Backoff(most_s=LONGEST_PAUSE_S)
        try:
            while True:
                try:
                    await self._start_over()
                    await self._deliver_new(backoff)
                except (EverfoldError, StartOver, TargetAway) as error:
                    told = (self._subscription.name, self._partition, str(error))
                    logger.warning("starts_over subscription=%s partition=%s why=%r", *told)
                await anyio.sleep(backoff.next_s())
        finally:
            self._quiet.leave()
            self._places.leave(self._partition)
            await self._group.aclose()

    async def _start_over(self) -> None:
        """Return to what is stored, and deliver what was read and never acknowledged."""
        self._quiet.start_over()
        stored = await read_hash(self._log.redis, self._keys.checkpoint())
        if b"checkpoint" not in stored:
            await create_again(self._log, self._subscription, self._partition)
            raise StartOver("its checkpoint is gone: it was removed, or the server lost it")
        checkpoint, began = (stored_entry_id(stored, name) for name in (b"checkpoint", b"began"))
        if checkpoint is None or began is None:
            raise WrongKeyType(f"{self._keys.checkpoint()} holds no entry id: restore it")
        self._checkpoint = checkpoint
        self._changes = stored.get(b"changes", b"0")
        self._acks.start_over(stored.get(b"resets", b"0").decode(errors="replace"))
        self._classifier.start_over(began)
        self._held = await read_held(self._log, self._keys.held())
        await self._group.create(self._partition, self._checkpoint)
        await self._group.take_over_pending(self._partition)
        key = self._log.keys.log(self._partition)
        limits = (DELETE_CONSUMER_AFTER_MS, self._subscription.group)
        await _delete_consumers.run(self._log.redis, (key,), limits)
        await self._deliver_pending()
        self._started_at_s = steady_s()

    async def _deliver_pending(self) -> None:
        after = NO_ENTRY
        while batch := await self._group.read_pending(self._partition, after, READ):
            await self._deliver_batch(batch)
            after = batch[-1].entry_id

    async def _deliver_new(self, backoff: Backoff) -> None:
        while True:
            await self._retry_due()
            batch = await self._next()
            # Before anything is delivered: a former owner's pending entries may come before it.
            self._check(await self._place(is_now=bool(batch)))
            if batch:
                await self._deliver_batch(batch)
            backoff.reset()  # not before: to start over succeeds while what follows fails each time

    async def _next(self) -> list[Recorded]:
        """Return what nobody of the group has read, [] where nothing comes for BLOCK_S."""
        group, here = self._group, (self._partition, READ)
        ready, wait = partial(group.read_ready, *here), partial(group.wait_new, *here)
        return await self._quiet.next(self._checkpoint, ready=ready, wait=wait)

    async def _deliver_batch(self, batch: Sequence[Recorded]) -> None:
        """Deliver a batch except the events of held jobs, and move the checkpoint."""
        self._checkpoint = max(self._checkpoint, batch[-1].entry_id, key=entry_order)
        await self._deliver([record for record in batch if record.job_id not in self._held], {})
        await self._acks.write(self._checkpoint)

    async def _deliver(self, records: Sequence[Recorded], before: Mapping[str, Held]) -> None:
        """Deliver what is wanted, and hold jobs that fail; the caller writes what is noted last.

        `before` says how jobs that are tried again were held.
        """
        delivery = ConcurrentDelivery(self._subscription, self._acks, self._held, self._log, before)
        while records:
            found = await self._classifier.classify(records)
            self._acks.ignored(*found.ignored)
            self._acks.left_out(*found.left_out)
            await delivery.run(found.deliveries)
            for job_id, parked in found.parked.items():
                if job_id not in self._held:  # else it is held at an earlier event
                    self._park(job_id, parked)
            records = [record for record in found.rest if record.job_id not in self._held]

    def _park(self, job_id: str, parked: Held) -> None:
        name, seq = self._subscription.name, parked.seq
        logger.error(
            "job_parked subscription=%s job=%s seq=%s why=%r", name, job_id, seq, parked.why
        )
        self._held[job_id] = parked
        self._acks.held(job_id, parked)

    async def _retry_due(self) -> None:
        due = await self._due()
        if not due:
            return
        before: dict[str, Held] = {}
        records: list[Recorded] = []
        size_bytes = 0
        for job_id in due:
            before[job_id] = self._held.pop(job_id)
            found = await self._events_from(job_id, before[job_id])
            records += found
            size_bytes += sum(len(record.payload) for record in found)
            if size_bytes > PAGE_BYTES:
                break  # the others are due at the next look
        await self._deliver(records, before)
        for job_id in before:
            if job_id not in self._held:
                self._acks.resumed(job_id)
        await self._acks.write()

    async def _due(self) -> list[str]:
        """Return held jobs that are due, a few at a time, because new events wait meanwhile."""
        waiting = {j: h.next_try_ms for j, h in self._held.items() if h.next_try_ms is not None}
        if not waiting:
            return []
        now_ms = await server_time_ms(self._log.redis)
        # Once the server's clock was set back, nobody knows how long they wait: try them now.
        was_set_back = now_ms < self._looked_at_ms - CLOCK_STEP_MS
        self._looked_at_ms = now_ms
        due = [job_id for job_id, try_ms in waiting.items() if try_ms <= now_ms or was_set_back]
        return due[: max(self._subscription.concurrency, self._subscription.batch)]

    async def _events_from(self, job_id: str, held: Held) -> list[Recorded]:
        """Return a job's events from the one it is held at up to the checkpoint."""
        try:
            # From the event before on: after a skip there may be no later one.
            found = await job_history(self._log, job_id, self._archive, max(0, held.seq - 2))
        except (BrokenChain, JobUnknown) as error:
            self._park(job_id, replace(held, why=str(error), cause=GAP, next_try_ms=None))
            return []
        limit = entry_order(self._checkpoint)
        taken = [record for record in found if entry_order(record.entry_id) <= limit]
        return [record for record in taken if record.seq >= held.seq]

    async def _place(self, *, is_now: bool) -> Place:
        if is_now:
            return await self._places.now(self._partition)
        since_s = max(self._started_at_s, steady_s() - 0.9 * BLOCK_S)
        return await self._places.of(self._partition, since_s=since_s)

    def _check(self, place: Place) -> None:
        """Start over when an operator has retried, skipped or reset something, and when entries are
        pending under another consumer: a former owner that froze has read them, and only the owner
        can take them over."""
        if (place.changes or b"0") != self._changes:
            raise StartOver("an operator changed what is held")
        if place.consumers - {self._group.consumer}:
            raise StartOver("entries are pending under another consumer")
