"""Folding one partition: read in order, fold in memory, commit, again.

Rule: entries are folded in the order of the log and acknowledged only by the commit that writes
what they changed. Whatever goes wrong, the way back is the same: forget what is in memory, take
over all pending entries, read them in order, go on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import anyio

from everfold.projector.assignment.sharing import OwnershipLost
from everfold.projector.folding.parking import read_parked
from everfold.projector.folding.projection import AnyProjection, Committed, NotOwner, Outcome, Step
from everfold.streams.appending.log import Log
from everfold.streams.errors import Unavailable
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_order
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.redis.redis_errors import NoGroup, command, read_hash
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.scripts import Script

logger = logging.getLogger("everfold.projector")

BATCH = 1000

FEW, GATHER_S = 32, 0.005
"""After a commit of few events, the next ones are let gather until the next multiple of this time:
a commit of one event costs nearly as much as one of thirty, and all partitions that read and
commit at the same moment share their trips to the server."""

FORGET_CONSUMER_AFTER_MS = 3_600_000
"""Each start of a projector makes a new consumer; those of dead ones go after an hour."""

_forget_consumers = Script("everfold.projector", "forget_consumers")


class OutOfOrder(Exception):
    """Somebody else has read or committed in between: all pending entries must be read again."""


class PartitionFold:
    """`token` is that of the process that owns the partition, and its consumer name."""

    def __init__(self, log: Log, partition: int, token: str, projection: AnyProjection) -> None:
        self._log = log
        self._partition = partition
        self._token = token
        self._checkpoint = NO_ENTRY
        self._group = ConsumerGroup(log, projection.group, token)
        self._folding = projection.folding(log, partition)

    async def run(self) -> None:
        """Fold until cancelled. Raises OwnershipLost."""
        backoff = Backoff()
        try:
            while True:
                try:
                    await self._start_over()
                    backoff.reset()
                    await self._fold_new()
                except (Unavailable, NoGroup, OutOfOrder) as why:
                    logger.warning("projector_starts_over partition=%s %r", self._partition, why)
                await anyio.sleep(backoff.next_s())
        finally:
            with anyio.CancelScope(shield=True):
                await self._group.aclose()

    async def _start_over(self) -> None:
        """Go back to what is stored, and fold everything that was read and never committed."""
        redis, place = self._log.redis, self._folding.place
        # The server may have gone back in time: only its own checkpoint fits to its states.
        stored = await read_hash(redis, place.projector())
        self._checkpoint = stored.get(b"checkpoint", NO_ENTRY.encode()).decode()
        parked = await read_parked(self._log, place.parked())
        self._folding.forget(parked)
        await self._group.create(self._partition, self._checkpoint)
        await self._group.inherit(self._partition)
        key = self._log.keys.log(self._partition)
        await _forget_consumers.run(redis, (key,), (FORGET_CONSUMER_AFTER_MS, self._group.group))
        await self._fold_pending()
        await self._go_back_to_checkpoint()
        await self._retry([job_id for job_id, why in parked.items() if why.retry])

    async def _fold_pending(self) -> None:
        after = NO_ENTRY
        while batch := await self._group.read_pending(self._partition, after, BATCH):
            await self._fold(batch)
            after = batch[-1].entry_id

    async def _go_back_to_checkpoint(self) -> None:
        """Have the group deliver again what is neither pending nor folded, as after DELCONSUMER."""
        key, group = self._log.keys.log(self._partition), self._group.group
        for row in cast("list[list[bytes]]", await command(self._log.redis, "XINFO GROUPS", key)):
            facts = dict(zip(row[::2], row[1::2], strict=True))
            delivered = facts[b"last-delivered-id"].decode()
            if facts[b"name"] == group.encode() and self._is_new(delivered):
                logger.error(
                    "entries_missed partition=%s after=%s", self._partition, self._checkpoint
                )
                await command(self._log.redis, "XGROUP SETID", key, group, self._checkpoint)

    async def _retry(self, jobs: Sequence[str]) -> None:
        if jobs:
            self._check(await self._folding.retry(jobs, self._step([], self._checkpoint)))

    async def _fold_new(self) -> None:
        while True:
            batch = await self._group.read_new(self._partition, BATCH)
            if not batch and (await self._group.pending(self._partition)).count:
                # A former owner was given entries as it froze; nobody else would ever ask for them.
                raise OutOfOrder
            while batch:
                await self._fold(batch)
                if len(batch) >= FEW:
                    break  # there is much to do: no trips to share
                await anyio.sleep(GATHER_S - anyio.current_time() % GATHER_S)
                batch = await self._group.read_ready(self._partition, BATCH)

    async def _fold(self, batch: Sequence[Recorded]) -> None:
        # What was folded before is only acknowledged: a state that has expired must stay away.
        new = batch if self._is_new(batch[0].entry_id) else self._new_of(batch)
        following = new[-1].entry_id if new else self._checkpoint
        entry_ids = [record.entry_id for record in batch]
        self._check(await self._folding.write(new, self._step(entry_ids, following)))
        self._checkpoint = following

    def _step(self, entry_ids: Sequence[str], following: str) -> Step:
        return Step(
            token=self._token,
            checkpoint=self._checkpoint,
            following=following,
            group=self._group.group,
            entry_ids=entry_ids,
        )

    def _check(self, outcome: Outcome) -> None:
        match outcome:
            case Committed():
                return
            case NotOwner(owner=owner):
                raise OwnershipLost(owner)
        raise OutOfOrder(outcome)

    def _is_new(self, entry_id: str) -> bool:
        return entry_order(entry_id) > entry_order(self._checkpoint)

    def _new_of(self, batch: Sequence[Recorded]) -> Sequence[Recorded]:
        return [record for record in batch if self._is_new(record.entry_id)]
