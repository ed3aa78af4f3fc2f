"""Keeps one partition of a projection up to date: read, fold, commit, again.

Rule: entries are folded in log order, and acknowledged only by the commit that writes what they
change. After any error the way back is the same: drop the cache, take over all pending entries,
read them in order, go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import anyio

from everfold.projector.assignment.assignment import PartitionLeaseLost
from everfold.projector.folding.parking import read_parked
from everfold.projector.folding.projection import (
    AnyProjection,
    CommitRequest,
    Committed,
    NotOwner,
    Outcome,
)
from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError, WrongKeyType
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_order
from everfold.streams.events.stored_fields import stored_entry_id
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.script import Script

logger = get_logger("everfold.projector")

BATCH = 1000

MOVE_AFTER_S = 60.0
"""What a rebuild has left to do after its swap is done here when it has not been by then."""

RETRY = 20
"""Parked jobs that are folded again by one commit: each is read whole."""

FEW, GATHER_S = 32, 0.005
"""After a commit of fewer than FEW events, it waits until the next multiple of GATHER_S: a commit
of one event costs nearly as much as one of thirty, and all partitions that read and commit at the
same moment share their round trips."""

DELETE_CONSUMER_AFTER_MS = 3_600_000
"""Each start of a projector makes a new consumer; an idle one without pending entries is deleted
after an hour."""

_delete_consumers = Script("everfold.projector", "delete_consumers")


class OutOfOrder(Exception):
    """Another process has read or committed in between: read all pending entries again."""


class PartitionProjector:
    """Folds one partition, under the lease of the process with this `token`.

    The token is the consumer's name, too.
    """

    def __init__(self, log: Log, partition: int, token: str, projection: AnyProjection) -> None:
        self._log = log
        self._partition = partition
        self._token = token
        self._checkpoint = NO_ENTRY
        self._group = ConsumerGroup(log, projection.group, token)
        self._fold = projection.partition_fold(log, partition)
        self._projection, self._move_at_s = projection, 0.0

    async def run(self) -> None:
        """Fold until cancelled; waits whatever the server answers. Raises PartitionLeaseLost.

        What was read and not committed stays pending.
        """
        backoff = Backoff()
        try:
            while True:
                try:
                    await self._start_over()
                    backoff.reset()
                    await self._fold_new()
                except (EverfoldError, OutOfOrder) as why:
                    told = (self._partition, str(why))
                    logger.warning("projector_starts_over partition=%s why=%r", *told)
                await anyio.sleep(backoff.next_s())
        finally:
            await self._group.aclose()

    async def _start_over(self) -> None:
        """Return to the stored checkpoint, and fold what was read and never committed."""
        redis, keys = self._log.redis, self._fold.keys
        # The server may have gone back in time: only its own checkpoint matches its states.
        stored = await read_hash(redis, keys.projector())
        checkpoint = stored_entry_id(stored, b"checkpoint")
        if checkpoint is None:
            raise WrongKeyType(f"the checkpoint in {keys.projector()} is no entry id: restore it")
        self._checkpoint = checkpoint
        parked = await read_parked(self._log, keys.parked())
        self._fold.start_over(parked)
        await self._group.create(self._partition, self._checkpoint)
        await self._group.take_over_pending(self._partition)
        key = self._log.keys.log(self._partition)
        await _delete_consumers.run(redis, (key,), (DELETE_CONSUMER_AFTER_MS, self._group.group))
        await self._fold_pending()
        await self._go_back_to_checkpoint()
        await self._retry([job_id for job_id, found in parked.items() if found.retry])

    async def _fold_pending(self) -> None:
        after = NO_ENTRY
        while batch := await self._group.read_pending(self._partition, after, BATCH):
            await self._fold_and_commit(batch)
            after = batch[-1].entry_id

    async def _go_back_to_checkpoint(self) -> None:
        """Redeliver entries that are neither pending nor folded, as after XGROUP DELCONSUMER."""
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
        for at in range(0, len(jobs), RETRY):
            page = jobs[at : at + RETRY]
            self._check(await self._fold.retry(page, self._request([], self._checkpoint)))

    async def _fold_new(self) -> None:
        while True:
            await self._move_states()
            batch = await self._group.read_new(self._partition, BATCH)
            if not batch and (await self._group.pending(self._partition)).count:
                # A former owner read entries and froze: they are pending under its name.
                raise OutOfOrder
            while batch:
                await self._fold_and_commit(batch)
                if len(batch) >= FEW:
                    break  # the log is ahead: do not wait for more
                await anyio.sleep(GATHER_S - anyio.current_time() % GATHER_S)
                batch = await self._group.read_ready(self._partition, BATCH)

    async def _move_states(self) -> None:
        """Do what a rebuild has left, when it is time to look whether it has."""
        if anyio.current_time() >= self._move_at_s:
            self._move_at_s = anyio.current_time() + MOVE_AFTER_S
            move = self._projection.move_states
            await move(self._log, self._partition, older_than_s=MOVE_AFTER_S)

    async def _fold_and_commit(self, batch: Sequence[Recorded]) -> None:
        # Redelivered events are only acknowledged: an expired state must not come back.
        new = batch if self._is_new(batch[0].entry_id) else self._new_of(batch)
        checkpoint = new[-1].entry_id if new else self._checkpoint
        entry_ids = [record.entry_id for record in batch]
        self._check(await self._fold.commit(new, self._request(entry_ids, checkpoint)))
        self._checkpoint = checkpoint

    def _request(self, entry_ids: Sequence[str], new_checkpoint: str) -> CommitRequest:
        return CommitRequest(
            token=self._token,
            expected_checkpoint=self._checkpoint,
            new_checkpoint=new_checkpoint,
            group=self._group.group,
            entry_ids=entry_ids,
        )

    def _check(self, outcome: Outcome) -> None:
        match outcome:
            case Committed():
                return
            case NotOwner(owner=owner):
                raise PartitionLeaseLost(owner)
        raise OutOfOrder(outcome)

    def _is_new(self, entry_id: str) -> bool:
        return entry_order(entry_id) > entry_order(self._checkpoint)

    def _new_of(self, batch: Sequence[Recorded]) -> Sequence[Recorded]:
        return [record for record in batch if self._is_new(record.entry_id)]
