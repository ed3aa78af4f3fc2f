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

from projector.ownership import Ownership
from projector.parking import read_parked
from projector.projection import AnyProjection, Behind, Committed, Outcome, Step
from streams.backoff import Backoff
from streams.border import command, read_hash
from streams.errors import EverfoldError, RebuildTaken
from streams.log import Log
from streams.reader import log_size, partition_pages
from streams.record import Recorded

OWN_FOR_S = 5.0
"""How long a rebuild stays somebody's without a sign of life."""

PAGE = 1000

Progress = Callable[[int, int], None]
"""Told the events folded so far, and how many there are in all."""


class Rebuilt(Struct, frozen=True):
    events: int
    """Folded now; fewer than the log has when an earlier run had begun."""
    parked: int
    """Jobs whose events cannot be folded."""


class Rebuild:
    """One run of rebuilding all partitions of a projection."""

    def __init__(
        self, log: Log, projection: AnyProjection, progress: Progress | None = None
    ) -> None:
        self._log, self._projection = log, projection
        self._tell = progress or (lambda _done, _total: None)
        self._ownership = Ownership(log, projection.name, "rebuild", OWN_FOR_S)
        self._token = self._ownership.token
        self._renew_at_s = 0.0
        self._done = self._total = self._folded = self._parked = 0

    async def run(self) -> Rebuilt:
        """Rebuild and swap; go on where an earlier run of the same fold was interrupted.

        Raises RebuildTaken while somebody else is at it, or Unavailable; what was done so far
        stays for the next run.
        """
        partitions = self._log.keys.partitions
        sizes = [await log_size(self._log, partition) for partition in range(partitions)]
        first = await self._first()
        self._total, self._done = sum(sizes), sum(sizes[:first])
        for partition in range(first, partitions):
            await self._partition(partition)
        return Rebuilt(self._folded, self._parked)

    async def _first(self) -> int:
        """Return the first partition that is not swapped yet, and mark all that follow.

        Marks are set in order and each swap takes one away, in the same order.
        """
        partitions, version = range(self._log.keys.partitions), self._projection.version.encode()
        marks = [await read_hash(self._log.redis, self._mark(p)) for p in partitions]
        known = [p for p in partitions if marks[p].get(b"version") == version]
        first = known[0] if known else 0
        await self._own(first)
        for partition in partitions[first:]:
            if partition not in known:
                await self._projection.drop_rebuild(self._log, partition)
                await command(self._log.redis, "HSET", self._mark(partition), "version", version)
        return first

    async def _partition(self, partition: int) -> None:
        place = self._mark(partition)
        await self._own(partition)
        try:
            stored = await read_hash(self._log.redis, place)
            self._done += int(stored.get(b"folded", b"0"))
            await self._fold_and_swap(partition, stored.get(b"checkpoint", b"0-0").decode())
        finally:
            with anyio.CancelScope(shield=True), contextlib.suppress(EverfoldError):
                await self._ownership.give_up(place)

    async def _fold_and_swap(self, partition: int, checkpoint: str) -> None:
        folding = self._projection.folding(self._log, partition, rebuilding=True)
        folding.forget(await read_parked(self._log, folding.place.parked()))
        while True:
            async for page in partition_pages(self._log, partition, checkpoint, size=PAGE):
                self._check(await folding.write(page, self._step(checkpoint, page)))
                checkpoint = page[-1].entry_id
                await self._note(partition, len(page))
            parked = len(await read_parked(self._log, folding.place.parked()))
            outcome = await self._projection.swap(self._log, partition, self._token)
            if not isinstance(outcome, Behind):
                self._check(outcome)
                self._parked += parked
                return

    def _step(self, checkpoint: str, page: Sequence[Recorded]) -> Step:
        following = page[-1].entry_id
        return Step(
            token=self._token, checkpoint=checkpoint, following=following, group="", entry_ids=()
        )

    async def _note(self, partition: int, events: int) -> None:
        self._folded += events
        self._done += events
        self._tell(self._done, max(self._done, self._total))
        if anyio.current_time() >= self._renew_at_s:
            await self._own(partition)

    def _check(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Committed):
            raise RebuildTaken(self._projection.name)

    async def _own(self, partition: int) -> None:
        """Own a partition's rebuild, as soon as the lease of one that was killed has run out."""
        backoff, until_s = Backoff(most_s=0.5), anyio.current_time() + OWN_FOR_S + 1
        while not await self._ownership.own(self._mark(partition)):
            if anyio.current_time() > until_s:
                raise RebuildTaken(self._projection.name)
            await anyio.sleep(backoff.next_s())
        self._renew_at_s = anyio.current_time() + OWN_FOR_S / 4

    def _mark(self, partition: int) -> str:
        return self._projection.place(self._log.keys, partition, rebuilding=True).projector()
