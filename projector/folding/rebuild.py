"""Rebuilding a projection from the log, beside the live one, and swapping it in.

Rule: it folds into keys of its own by the same commit as the live projection, so it may be
interrupted anywhere and resumed. Runners append and readers read meanwhile; each partition is
swapped by one script as soon as its rebuild has caught up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import anyio
from msgspec import Struct

from everfold.projector.assignment.ownership import Ownership
from everfold.projector.folding.parking import read_parked
from everfold.projector.folding.projection import AnyProjection, Behind, Committed, Outcome, Step
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import EverfoldError, RebuildTaken
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import log_size
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.retry import Backoff
from everfold.streams.retention.history import history_pages

OWN_FOR_S = 5.0
"""How long a rebuild stays somebody's without a sign of life."""

PAGE = 1000

AT_ONCE = 4
"""Partitions rebuilt at the same time, so that one is folded while others wait for the server."""

Progress = Callable[[int, int], None]
"""Told the events folded so far, and how many there are in all."""


class Rebuilt(Struct, frozen=True):
    events: int
    """Folded now; fewer than the log has when an earlier run had begun."""
    parked: int
    """Jobs whose events cannot be folded."""


class Rebuild:
    """One run of rebuilding all partitions; `archive` has what is no longer in the log."""

    def __init__(
        self,
        log: Log,
        projection: AnyProjection,
        progress: Progress | None = None,
        archive: Archive | None = None,
    ) -> None:
        self._log, self._projection, self._archive = log, projection, archive
        self._tell = progress or (lambda _done, _total: None)
        self._ownership = Ownership(log, projection.name, "rebuild", OWN_FOR_S)
        self._done = self._total = self._folded = self._parked = 0
        self._failure: Exception | None = None

    async def run(self) -> Rebuilt:
        """Rebuild and swap; go on where an earlier run of the same fold was interrupted.

        Raises RebuildTaken while somebody else is at it, or Unavailable; what was done so far
        stays for the next run.
        """
        partitions = self._log.keys.partitions
        sizes = [await self._size(partition) for partition in range(partitions)]
        first = await self._first()
        self._total, self._done = sum(sizes), sum(sizes[:first])
        at_once = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as tasks:
            for partition in range(first, partitions):
                tasks.start_soon(self._partition, partition, at_once, tasks.cancel_scope)
        if self._failure is not None:
            raise self._failure
        return Rebuilt(self._folded, self._parked)

    async def _size(self, partition: int) -> int:
        gone = await trimmed_to(self._log, partition)
        return gone.count + await log_size(self._log, partition)

    async def _first(self) -> int:
        """Return the first partition that is not swapped yet, and mark all that follow.

        Each swap takes its mark away. What was swapped behind one that was not is done again.
        """
        partitions, version = range(self._log.keys.partitions), self._projection.version.encode()
        one = [self._one(partition) for partition in partitions]
        marks = [await read_hash(self._log.redis, part.mark) for part in one]
        known = [p for p in partitions if marks[p].get(b"version") == version]
        first = known[0] if known else 0
        await one[first].own()
        for partition in partitions[first:]:
            if partition not in known:
                await self._projection.drop_rebuild(self._log, partition)
                await command(self._log.redis, "HSET", one[partition].mark, "version", version)
        return first

    async def _partition(
        self, partition: int, at_once: anyio.CapacityLimiter, all_of_them: anyio.CancelScope
    ) -> None:
        try:
            async with at_once:
                self._parked += await self._one(partition).run(self._note)
        except Exception as error:
            self._failure = self._failure or error
            all_of_them.cancel()

    def _one(self, partition: int) -> _PartitionRebuild:
        return _PartitionRebuild(
            self._log, self._projection, self._ownership, partition, self._archive
        )

    def _note(self, earlier: int, now: int) -> None:
        """Take note of events that were folded by an earlier run, or now."""
        self._folded += now
        self._done += earlier + now
        self._tell(self._done, max(self._done, self._total))


class _PartitionRebuild:
    def __init__(
        self,
        log: Log,
        projection: AnyProjection,
        ownership: Ownership,
        partition: int,
        archive: Archive | None,
    ) -> None:
        self._log, self._projection, self._ownership = log, projection, ownership
        self._archive = archive
        self._partition = partition
        self._renew_at_s = 0.0
        self.mark = projection.place(log.keys, partition, rebuilding=True).projector()

    async def run(self, note: Callable[[int, int], None]) -> int:
        """Fold, catch up and swap; return how many jobs are parked."""
        await self.own()
        try:
            stored = await read_hash(self._log.redis, self.mark)
            note(int(stored.get(b"folded", b"0")), 0)
            return await self._fold_and_swap(stored.get(b"checkpoint", b"0-0").decode(), note)
        finally:
            with anyio.CancelScope(shield=True), contextlib.suppress(EverfoldError):
                await self._ownership.give_up(self.mark)

    async def _fold_and_swap(self, checkpoint: str, note: Callable[[int, int], None]) -> int:
        folding = self._projection.folding(
            self._log, self._partition, rebuilding=True, archive=self._archive
        )
        folding.forget(await read_parked(self._log, folding.place.parked()))
        while True:
            pages = history_pages(self._log, self._partition, checkpoint, self._archive, size=PAGE)
            async for page in pages:
                self._check(await folding.write(page, self._step(checkpoint, page)))
                checkpoint = page[-1].entry_id
                note(0, len(page))
                await self._keep()
            parked = len(await read_parked(self._log, folding.place.parked()))
            outcome = await self._projection.swap(self._log, self._partition, self._ownership.token)
            if not isinstance(outcome, Behind):
                self._check(outcome)
                return parked

    def _step(self, checkpoint: str, page: Sequence[Recorded]) -> Step:
        return Step(
            token=self._ownership.token,
            checkpoint=checkpoint,
            following=page[-1].entry_id,
            group="",
            entry_ids=(),
        )

    def _check(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Committed):
            raise RebuildTaken(self._projection.name)

    async def own(self) -> None:
        """Own the rebuild, as soon as the lease of one that was killed has run out."""
        backoff, until_s = Backoff(most_s=0.5), anyio.current_time() + OWN_FOR_S + 1
        while not await self._ownership.own(self.mark):
            if anyio.current_time() > until_s:
                raise RebuildTaken(self._projection.name)
            await anyio.sleep(backoff.next_s())
        self._renew_at_s = anyio.current_time() + OWN_FOR_S / 4

    async def _keep(self) -> None:
        if anyio.current_time() >= self._renew_at_s:
            await self.own()
