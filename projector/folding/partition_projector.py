"""Keeps one partition of a projection up to date: read, fold, commit, again.

Rule: entries are read in log order from the checkpoint on, and the commit that writes what they
change moves it, and the consumer group with it, by which others see how far the projection is.
After any error the way back is the same: drop the cache, go back to the stored checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from everfold.projector.assignment.assignment import PartitionLeaseLost
from everfold.projector.assignment.places import Places
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
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError, WrongKeyType
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.events.stored_fields import stored_entry_id
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.gathering import FEW, gathering_s
from everfold.streams.reading.partition_reader import PartitionReader
from everfold.streams.reading.shared_reader import SharedReader
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.script import Script
from everfold.streams.redis.server import BLOCK_S

logger = get_logger("everfold.projector")

BATCH = 1000

MOVE_AFTER_S = 60.0
"""What a rebuild has left to do after its swap is done here when it has not been by then."""

RETRY = 20
"""Parked jobs that are folded again by one commit: each is read whole."""

DELETE_CONSUMER_AFTER_MS = 3_600_000
"""Projectors of earlier versions each made a consumer; an idle one is deleted after an hour."""

_delete_consumers = Script("everfold.projector", "delete_consumers")


class OutOfOrder(Exception):
    """Another process has read or committed in between: go back to the stored checkpoint."""


class PartitionProjector:
    """Folds one partition, under the lease of the process with this `token`.

    `places` and `shared` are those of all partitions of the process.
    """

    def __init__(
        self,
        log: Log,
        partition: int,
        token: str,
        projection: AnyProjection,
        *,
        places: Places,
        shared: SharedReader,
    ) -> None:
        self._log = log
        self._partition = partition
        self._token = token
        self._checkpoint = NO_ENTRY
        self._group = ConsumerGroup(log, projection.group, token)
        self._reader = PartitionReader(log, partition, projection.group, block_s=BLOCK_S)
        self._fold = projection.partition_fold(log, partition)
        self._projection, self._move_at_s = projection, 0.0
        self._places, self._moved_at_s = places, 0.0
        self._shared, self._is_ahead = shared, True

    async def run(self) -> None:
        """Fold until cancelled; waits whatever the server answers. Raises PartitionLeaseLost."""
        backoff = Backoff()
        try:
            while True:
                try:
                    await self._start_over()
                    await self._fold_new(backoff)
                except (EverfoldError, OutOfOrder) as why:
                    told = (self._partition, str(why))
                    logger.warning("projector_starts_over partition=%s why=%r", *told)
                await anyio.sleep(backoff.next_s())
        finally:
            self._shared.leave(self._partition)
            self._places.leave(self._partition)
            await self._reader.aclose()

    async def _start_over(self) -> None:
        """Return to the stored checkpoint, and put the group there."""
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
        await self._forget_pending()
        await self._fold_and_commit(())
        await self._retry([job_id for job_id, found in parked.items() if found.retry])

    async def _forget_pending(self) -> None:
        """Forget what projectors of earlier versions were given: it follows the checkpoint, and
        is read again from there."""
        redis, key, group = self._log.redis, self._log.keys.log(self._partition), self._group.group
        for consumer in (await self._group.pending(self._partition)).consumers:
            await command(redis, "XGROUP DELCONSUMER", key, group, consumer)
        await _delete_consumers.run(redis, (key,), (DELETE_CONSUMER_AFTER_MS, group))

    async def _retry(self, jobs: Sequence[str]) -> None:
        for at in range(0, len(jobs), RETRY):
            page = jobs[at : at + RETRY]
            self._check(await self._fold.retry(page, self._request(self._checkpoint)))

    async def _fold_new(self, backoff: Backoff) -> None:
        while True:
            await self._move_states()
            batch = await self._next()
            began_s = steady_s()
            if batch:
                await self._fold_and_commit(batch)
            else:
                await self._check_place()
            backoff.reset()  # not before: to start over succeeds while what follows fails each time
            if batch and not (self._is_ahead or self._log.redis.is_one_server):
                now_s = steady_s()
                await anyio.sleep(gathering_s(now_s, now_s - began_s))

    async def _next(self) -> list[Recorded]:
        """Return what follows the checkpoint, [] where nothing does for BLOCK_S."""
        after, is_one_server = self._checkpoint, self._log.redis.is_one_server
        batch = list[Recorded]()
        if self._is_ahead or not is_one_server:
            batch = await self._reader.read_ready(after, BATCH)
        if not batch and is_one_server:
            batch = await self._shared.next(self._partition, after, min(FEW, BATCH))
        elif not batch:
            batch = await self._reader.wait(after, BATCH)
        self._is_ahead = len(batch) >= min(FEW, BATCH)
        return batch

    async def _check_place(self) -> None:
        """Raise OutOfOrder where the server has another checkpoint, after it has gone back in time,
        or where a projector of an earlier version was given entries and froze."""
        place = await self._places.of(
            self._partition, since_s=max(self._moved_at_s, steady_s() - 0.9 * BLOCK_S)
        )
        if (place.checkpoint or NO_ENTRY.encode()) != self._checkpoint.encode():
            raise OutOfOrder(f"the stored checkpoint is {place.checkpoint!r}")
        if place.pending:
            raise OutOfOrder("entries are pending")

    async def _move_states(self) -> None:
        """Do what a rebuild has left, when it is time to look whether it has."""
        if steady_s() >= self._move_at_s:
            self._move_at_s = steady_s() + MOVE_AFTER_S
            move = self._projection.move_states
            await move(self._log, self._partition, older_than_s=MOVE_AFTER_S)

    async def _fold_and_commit(self, batch: Sequence[Recorded]) -> None:
        checkpoint = batch[-1].entry_id if batch else self._checkpoint
        self._check(await self._fold.commit(batch, self._request(checkpoint)))
        self._checkpoint, self._moved_at_s = checkpoint, steady_s()

    def _request(self, new_checkpoint: str) -> CommitRequest:
        return CommitRequest(
            token=self._token,
            expected_checkpoint=self._checkpoint,
            new_checkpoint=new_checkpoint,
            group=self._group.group,
        )

    def _check(self, outcome: Outcome) -> None:
        match outcome:
            case Committed():
                return
            case NotOwner(owner=owner):
                raise PartitionLeaseLost(owner)
        raise OutOfOrder(outcome)
