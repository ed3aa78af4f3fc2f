"""A subscription whose place the subscriber keeps: it gives back a cursor and gets what follows.

Rule: nothing is left out silently. Where events were trimmed that the cursor has not seen, and
where the log no longer holds what it has seen, that is an error that says so.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from types import TracebackType

import msgspec
from msgspec import Struct

from everfold.projector.folding.context import Context
from everfold.projector.subscribing.delivery import Delivery, filter_of
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import BrokenChain, JobUnknown, Refused, Trimmed, WentBack
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_before, entry_order
from everfold.streams.reading.reader import PAGE, partition_page, tail
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.retention.history import history_pages


class Cursor(Struct, frozen=True):
    """Up to where events were seen, in each partition; `str(cursor)` can be stored as text."""

    generation: str
    """Of the namespace: it is another one when the namespace was made anew."""
    after: dict[int, str]

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()


def read_cursor(text: str) -> Cursor:
    """Return what `str(cursor)` had written. Raises Refused."""
    try:
        return msgspec.json.decode(text, type=Cursor)
    except msgspec.MsgspecError as error:
        raise Refused(f"this is not a cursor: {error}") from error


class CatchUp:
    """Everything after a cursor, then what happens, as long as it is iterated.

        async with CatchUp(log, cursor, types=["job.succeeded"]) as feed:
            async for delivery in feed:
                ...                       # then store str(feed.cursor)

    Events of one job come in order. At most a page of each partition is in memory: whoever takes
    long over a delivery is not sent more. Without a cursor it begins with the first event there
    is. Unreadable events, and jobs whose beginning is nowhere any more, are left out and counted in
    `left_out`.

    Iterating raises Trimmed, WentBack, or Unavailable; the cursor stays usable.
    """

    def __init__(
        self,
        log: Log,
        cursor: Cursor | None = None,
        *,
        types: Iterable[str] = (),
        kinds: Iterable[str] = (),
        users: Iterable[str] = (),
        archive: Archive | None = None,
    ) -> None:
        self._log, self._archive = log, archive
        self._wants = filter_of(types, kinds, users)
        self._given = cursor
        self._after = dict.fromkeys(range(log.keys.partitions), NO_ENTRY)
        self._contexts = {
            partition: Context(log, partition, archive, past_unreadable=True)
            for partition in self._after
        }
        self.left_out = 0
        self._events: AsyncGenerator[Delivery] | None = None

    @property
    def cursor(self) -> Cursor:
        """The place after the last delivery."""
        return Cursor(self._log.generation, dict(self._after))

    async def __aenter__(self) -> CatchUp:
        await self._find_place()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._events is not None:
            await self._events.aclose()

    def __aiter__(self) -> CatchUp:
        return self

    async def __anext__(self) -> Delivery:
        if self._events is None:
            self._events = self._deliveries()
        try:
            return await anext(self._events)
        except BaseException:
            self._events = None  # the next one begins again at the cursor
            raise

    async def _find_place(self) -> None:
        if self._given is None:
            if self._archive is None:
                # From the first event that is still there.
                for partition in self._after:
                    self._after[partition] = (await trimmed_to(self._log, partition)).entry_id
            return
        if self._given.generation != self._log.generation:
            first = min(self._given.after)
            raise WentBack(first, self._given.after[first])
        self._after |= self._given.after

    async def _is_in_log(self, partition: int) -> bool:
        """Say whether the log goes on right after the cursor; if not, the archive does, or it
        raises."""
        after = self._after[partition]
        gone = await trimmed_to(self._log, partition)
        if entry_order(gone.entry_id) > entry_order(after):
            if self._archive is None:
                raise Trimmed(partition, after, gone.entry_id)
            return False
        if after in (NO_ENTRY, gone.entry_id):
            return True
        if not await partition_page(self._log, partition, entry_before(after), 1, after):
            raise WentBack(partition, after)
        return True

    async def _deliveries(self) -> AsyncGenerator[Delivery]:
        for partition in self._after:
            await self._is_in_log(partition)
        for partition in self._after:
            async for delivery in self._history(partition):
                yield delivery
        async with tail(self._log, self._after) as batches:
            async for batch in batches:
                partition = self._partition_of(batch)
                if not await self._is_in_log(partition):
                    async for delivery in self._history(partition):
                        yield delivery
                async for delivery in self._told(partition, batch):
                    yield delivery

    async def _history(self, partition: int) -> AsyncIterator[Delivery]:
        after = self._after[partition]
        pages = history_pages(self._log, partition, after, self._archive, size=PAGE)
        async for page in pages:
            async for delivery in self._told(partition, page):
                yield delivery

    def _partition_of(self, batch: Iterable[Recorded]) -> int:
        """Return whose batch it is; entries that are not ours say nothing about it."""
        keys = self._log.keys
        return next((keys.partition_of(r.job_id) for r in batch if r.job_id), 0)

    async def _told(self, partition: int, batch: Iterable[Recorded]) -> AsyncIterator[Delivery]:
        context = self._contexts[partition]
        for record in batch:
            if entry_order(record.entry_id) <= entry_order(self._after[partition]):
                continue  # the archive had told it
            delivery = await self._delivery(context, record)
            self._after[partition] = record.entry_id
            if delivery is not None and self._wants.wants(delivery):
                yield delivery
        context.keep()

    async def _delivery(self, context: Context, record: Recorded) -> Delivery | None:
        if isinstance(record.event, Unreadable):
            self.left_out += 1
            return None
        try:
            return Delivery(record, await context.after(record))
        except (BrokenChain, JobUnknown):
            self.left_out += 1
            return None
