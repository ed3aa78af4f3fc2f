"""Reads all events after a cursor that the caller keeps, then new ones as they are appended.

Rule: nothing is left out silently. It is an error when events after the cursor were trimmed, and
when the log no longer holds the event that the cursor points at.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from types import TracebackType

import msgspec
from msgspec import Struct

from everfold.projector.folding.job_tracker import JobTracker
from everfold.projector.subscribing.delivery import Delivery, filter_of
from everfold.projector.subscribing.opened import opened
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import BrokenChain, InvalidName, JobUnknown, Refused, Trimmed, WentBack
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_before, entry_order
from everfold.streams.events.stored_fields import is_entry_id
from everfold.streams.reading.reader import partition_page, tail_partitions
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.redis.pages import PAGE
from everfold.streams.retention.history import history_pages


class Cursor(Struct, frozen=True):
    """Up to which event each partition was read; `str(cursor)` is its text, to be stored."""

    generation: str
    """Id of the namespace's generation; another one after the namespace was made anew."""
    after: dict[int, str]
    """Partition -> entry id of the last event that was read."""

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()


_decode = decoder(Cursor)


def read_cursor(text: object) -> Cursor:
    """Return the cursor that `str(cursor)` wrote. Raises Refused for any other text."""
    try:
        return _decode(text if isinstance(text, str) else "")
    except NotJson as error:
        raise Refused(f"this is not a cursor: {error}") from error


def _checked(cursor: object, log: Log) -> Cursor | None:
    """Return a cursor of this log's shape. Raises InvalidName."""
    if cursor is None:
        return None
    if not isinstance(cursor, Cursor):
        raise InvalidName("cursor", cursor, "pass what `read_cursor` returned")
    for partition, entry_id in cursor.after.items():
        if partition not in range(log.keys.partitions) or not _is_id(entry_id):
            raise InvalidName("cursor", entry_id, "give back the one that the feed had")
    return cursor


def _is_id(entry_id: str) -> bool:
    return is_entry_id(entry_id.encode(errors="replace"))


class CatchUp:
    """Iterates over all events after a cursor, then over new ones, without end.

        async with CatchUp(log, cursor, types=["job.succeeded"]) as feed:
            async for delivery in feed:
                ...                       # then store str(feed.cursor)

    `types`, `kinds` and `users` filter events; an empty one matches all. Without a cursor it begins
    with the first event of the archive, or of the log. Events of one job come in order. At most a
    page of each partition is in memory, however slow the caller is. Unreadable events, and events
    of jobs whose beginning is lost, are left out and counted in `left_out`.

    Ignorable events of unknown types are left out without being counted.

    Raises Misconfigured for an unknown type, and on entering NamespaceTooNew, or WentBack for a
    cursor of another generation. Iterating raises Trimmed, WentBack or Unavailable, and can then
    go on: the cursor stays at the last delivery.
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
        self._given = _checked(cursor, log)
        self._after = dict.fromkeys(range(log.keys.partitions), NO_ENTRY)
        self._trackers = {
            partition: JobTracker(log, partition, archive, past_unreadable=True)
            for partition in self._after
        }
        self.left_out = 0
        self._events: AsyncGenerator[Delivery] | None = None

    @property
    def cursor(self) -> Cursor:
        """The cursor after the last delivery, and after events that did not match the filter."""
        return Cursor(self._log.generation, dict(self._after))

    async def __aenter__(self) -> CatchUp:
        await self._log.check_level()
        await self._find_start()
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

    async def _find_start(self) -> None:
        if self._given is None:
            if self._archive is None:
                # Begin with the first event that is still there.
                for partition in self._after:
                    self._after[partition] = (await trimmed_to(self._log, partition)).entry_id
            return
        if self._given.generation != self._log.generation:
            first = min(self._given.after, default=0)
            raise WentBack(first, self._given.after.get(first, NO_ENTRY))
        self._after |= self._given.after

    async def _is_in_log(self, partition: int) -> bool:
        """Say whether the log has all events after the cursor; if not, the archive has them.

        Raises Trimmed, WentBack, Unavailable.
        """
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
        async with tail_partitions(self._log, self._after) as batches:
            async for partition, batch in batches:
                if not await self._is_in_log(partition):
                    async for delivery in self._history(partition):
                        yield delivery
                async for delivery in self._wanted(partition, batch):
                    yield delivery

    async def _history(self, partition: int) -> AsyncIterator[Delivery]:
        after = self._after[partition]
        pages = history_pages(self._log, partition, after, self._archive, size=PAGE)
        async for page in pages:
            await self._is_in_log(partition)
            async for delivery in self._wanted(partition, page):
                yield delivery

    async def _wanted(self, partition: int, batch: Iterable[Recorded]) -> AsyncIterator[Delivery]:
        tracker = self._trackers[partition]
        for record in batch:
            if entry_order(record.entry_id) <= entry_order(self._after[partition]):
                continue  # it was read from the archive
            delivery = await self._delivery(tracker, record)
            is_wanted = delivery is not None and self._wants.wants(delivery)
            found = await opened(self._log, delivery) if delivery and is_wanted else None
            self._after[partition] = record.entry_id
            if found is not None:
                yield found
        tracker.evict()

    async def _delivery(self, tracker: JobTracker, record: Recorded) -> Delivery | None:
        if isinstance(record.event, Unreadable):
            self.left_out += not record.event.skipped
            return None
        try:
            return Delivery(record, await tracker.after(record))
        except (BrokenChain, JobUnknown):
            self.left_out += 1
            return None
