"""Rebuilds a projection from the log, beside the live one, and swaps it in.

Rule: it folds into keys of its own by the same commit as the live projection, so it may be
interrupted at any point and resumed. Runners and readers go on meanwhile. One script swaps a
partition as soon as its rebuild has caught up; what is left to do then is done in pages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import anyio
from msgspec import Struct

from everfold.projector.assignment.member import Member
from everfold.projector.folding.parking import read_parked
from everfold.projector.folding.projection import (
    AnyProjection,
    CommitRequest,
    Committed,
    Outcome,
    RebuildBehind,
)
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import EverfoldError, RebuildTaken
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import log_size
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.retry import Backoff
from everfold.streams.retention.history import history_pages

LEASE_S = 5.0
"""How long the lease of a partition's rebuild lasts without a renewal."""

PAGE = 1000

CONCURRENCY = 4
"""Partitions rebuilt at the same time: one is folded while others wait for the server."""

OnProgress = Callable[[int, int], None]
"""Called with the number of events folded so far, and of all events."""


class Rebuilt(Struct, frozen=True):
    """What one run has done."""

    events: int
    """Events folded by this run; an earlier, interrupted run may have folded more."""
    parked: int
    """Jobs that are parked because their events cannot be folded."""


class Rebuild:
    """One run that rebuilds all partitions.

    `progress` is called after each page of events with the events folded so far, those of an
    earlier run included, and the number of all events. `archive` has what is no longer in the log.
    """

    def __init__(
        self,
        log: Log,
        projection: AnyProjection,
        progress: OnProgress | None = None,
        archive: Archive | None = None,
    ) -> None:
        self._log, self._projection, self._archive = log, projection, archive
        self._progress = progress or (lambda _done, _total: None)
        self._member = Member(log, projection.name, "rebuild", LEASE_S)
        self._done = self._total = self._folded = self._parked = 0
        self._failure: Exception | None = None

    async def run(self) -> Rebuilt:
        """Rebuild and swap every partition; resume an interrupted run of the same version.

        Raises RebuildTaken while another process rebuilds this projection, Unavailable, and
        ArchiveUnavailable or ArchiveDamaged. What is done so far stays for the next run.
        """
        partitions = self._log.keys.partitions
        sizes = [await self._size(partition) for partition in range(partitions)]
        first = await self._first()
        self._total, self._done = sum(sizes), sum(sizes[:first])
        limiter = anyio.CapacityLimiter(CONCURRENCY)
        async with anyio.create_task_group() as tasks:
            for partition in range(first, partitions):
                tasks.start_soon(self._partition, partition, limiter, tasks.cancel_scope)
        if self._failure is not None:
            raise self._failure
        return Rebuilt(self._folded, self._parked)

    async def _size(self, partition: int) -> int:
        gone = await trimmed_to(self._log, partition)
        return gone.count + await log_size(self._log, partition)

    async def _first(self) -> int:
        """Return the first partition that is not swapped yet; mark it and all that follow.

        A swap deletes the mark. A partition that was swapped after an unfinished one is done again.
        """
        partitions, version = range(self._log.keys.partitions), self._projection.version.encode()
        rebuilds = [self._rebuild_of(partition) for partition in partitions]
        marks = [await read_hash(self._log.redis, rebuild.mark) for rebuild in rebuilds]
        begun = [p for p in partitions if marks[p].get(b"version") == version]
        first = begun[0] if begun else 0
        await rebuilds[first].acquire()
        for partition in partitions:  # an earlier run may have ended before it had done so
            await self._projection.move_states(self._log, partition)
        for partition in partitions[first:]:
            if partition not in begun:
                await self._projection.drop_rebuild(self._log, partition)
                mark = rebuilds[partition].mark
                await command(self._log.redis, "HSET", mark, "version", version)
        return first

    async def _partition(
        self, partition: int, limiter: anyio.CapacityLimiter, all_partitions: anyio.CancelScope
    ) -> None:
        try:
            async with limiter:
                self._parked += await self._rebuild_of(partition).run(self._count)
        except Exception as error:
            self._failure = self._failure or error
            all_partitions.cancel()

    def _rebuild_of(self, partition: int) -> _PartitionRebuild:
        return _PartitionRebuild(
            self._log, self._projection, self._member, partition, self._archive
        )

    def _count(self, earlier: int, now: int) -> None:
        """Count events that an earlier run has folded, or this one."""
        self._folded += now
        self._done += earlier + now
        self._progress(self._done, max(self._done, self._total))


class _PartitionRebuild:
    def __init__(
        self,
        log: Log,
        projection: AnyProjection,
        member: Member,
        partition: int,
        archive: Archive | None,
    ) -> None:
        self._log, self._projection, self._member = log, projection, member
        self._archive = archive
        self._partition = partition
        self._renew_at_s = 0.0
        self.mark = projection.keys(log.keys, partition, rebuilding=True).projector()

    async def run(self, count: Callable[[int, int], None]) -> int:
        """Fold, catch up and swap; return how many jobs are parked.

        `count` is called with the events that an earlier run has folded, and with those of each
        page.
        """
        await self.acquire()
        try:
            stored = await read_hash(self._log.redis, self.mark)
            count(int(stored.get(b"folded", b"0")), 0)
            return await self._fold_and_swap(stored.get(b"checkpoint", b"0-0").decode(), count)
        finally:
            with anyio.CancelScope(shield=True), contextlib.suppress(EverfoldError):
                await self._member.release(self.mark)

    async def _fold_and_swap(self, checkpoint: str, count: Callable[[int, int], None]) -> int:
        fold = self._projection.partition_fold(
            self._log, self._partition, rebuilding=True, archive=self._archive
        )
        fold.start_over(await read_parked(self._log, fold.keys.parked()))
        while True:
            pages = history_pages(self._log, self._partition, checkpoint, self._archive, size=PAGE)
            async for page in pages:
                self._check(await fold.commit(page, self._request(checkpoint, page)))
                checkpoint = page[-1].entry_id
                count(0, len(page))
                await self._renew()
            parked = len(await read_parked(self._log, fold.keys.parked()))
            outcome = await self._projection.swap(self._log, self._partition, self._member.token)
            if not isinstance(outcome, RebuildBehind):
                self._check(outcome)
                await self._projection.move_states(self._log, self._partition)
                return parked

    def _request(self, checkpoint: str, page: Sequence[Recorded]) -> CommitRequest:
        return CommitRequest(
            token=self._member.token,
            expected_checkpoint=checkpoint,
            new_checkpoint=page[-1].entry_id,
            group="",
        )

    def _check(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Committed):
            raise RebuildTaken(self._projection.name)

    async def acquire(self) -> None:
        """Acquire or renew the lease; waits until that of a killed process has run out.

        Raises RebuildTaken where another process renews it.
        """
        backoff, until_s = Backoff(most_s=0.5), anyio.current_time() + LEASE_S + 1
        while not await self._member.acquire(self.mark):
            if anyio.current_time() > until_s:
                raise RebuildTaken(self._projection.name)
            await anyio.sleep(backoff.next_s())
        self._renew_at_s = anyio.current_time() + LEASE_S / 4

    async def _renew(self) -> None:
        if anyio.current_time() >= self._renew_at_s:
            await self.acquire()
