"""Write the archive. The archiver is a required reader of the log: nothing is trimmed before it.

Rule: write the segment, read it back and compare, archive the graphs it needs, then create its
manifest, then move the reader's position in Redis. A death at any point leaves a segment without a
manifest, which means nothing, or a position that is behind, which the next run moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import cast

import anyio.to_thread
from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.graphs import GraphArchiver
from everfold.streams.archive.manifest import (
    Link,
    Manifest,
    make_manifest,
    sha256_of,
    write_manifest,
)
from everfold.streams.archive.segment import records_of, write_segment
from everfold.streams.errors import ArchiveDamaged, ArchiveForeign, ArchiveUnavailable, Trimmed
from everfold.streams.events.record import NO_ENTRY, RawEntry, entry_order, entry_time_ms
from everfold.streams.reading.readers import ARCHIVE, readers, register, trimmed_to
from everfold.streams.redis.each import each
from everfold.streams.redis.pages import entry_page
from everfold.streams.redis.server import server_time_ms

SEGMENT_EVENTS = 10_000
"""Events of a full segment."""

PAGE_EVENTS = 2_000
"""Events that are read in one call."""

OLDEST_S = 300.0
"""A segment that is not full is written when its oldest event has waited so many seconds."""

SEGMENT_BYTES = 64 * 2**20
"""Of the entries of a full segment: readers have a whole segment in memory."""

BEGUN = "begun"
"""A file without content, the first of an archive."""

Note = Callable[[int], None]
"""Called after each segment with the number of its events."""


class Archived(Struct, frozen=True):
    """What one run has archived of a partition."""

    partition: int
    segments: int
    events: int


class Archiver:
    """Writes one log into one archive. Two at once do no harm: the store decides per segment."""

    def __init__(self, log: Log, archive: Archive, note: Note | None = None) -> None:
        self._log, self._archive = log, archive
        self._note = note or (lambda _events: None)
        self._why_no_store: ArchiveUnavailable | None = None
        self._graphs = GraphArchiver(log, archive)

    async def run(self, *, everything: bool = False) -> list[Archived]:
        """Archive all partitions once: full and old segments, or `everything` that is there.

        It may be interrupted and repeated; what was archived stays. Raises ArchiveForeign for the
        archive of another namespace, Trimmed where events are gone that were never archived,
        ArchiveDamaged, or a leaf of Unavailable.
        """
        partitions = range(self._log.keys.partitions)
        if not any([await self._archive.links(partition) for partition in partitions]):
            # A place that cannot be written must not hold the log's trim.
            await self._archive.store.create(BEGUN, b"")
        # One after the other at each node, for each holds a segment in memory.
        self._why_no_store, self._graphs = None, GraphArchiver(self._log, self._archive)
        act = partial(self._partition_of_store, everything=everything)
        return (await each(self._log, act, at_once=1)).all()

    async def _partition_of_store(self, partition: int, everything: bool) -> Archived:
        """Archive a partition, unless the store has failed for another one."""
        if self._why_no_store is not None:
            raise self._why_no_store
        try:
            return await self._partition(partition, everything)
        except ArchiveUnavailable as error:
            self._why_no_store = error
            raise

    async def _partition(self, partition: int, everything: bool) -> Archived:
        segments = events = 0
        while True:
            links = await self._archive.links(partition)
            before = links[-1] if links else None
            position = await self._position(partition, links)
            await register(self._log, partition, ARCHIVE, position)
            found = await self._next(partition, position)
            if not await self._is_due(found, everything):
                return Archived(partition, segments, events)
            entries = found.entries
            if await self._write(partition, entries, before, position):
                segments, events = segments + 1, events + len(entries)
                self._note(len(entries))

    async def _position(self, partition: int, links: Sequence[Link]) -> str:
        """Return the entry after which to go on. An archive may begin after what was trimmed while
        there was none."""
        log, before = self._log, links[-1] if links else None
        if before is not None and before.manifest.generation != log.generation:
            raise ArchiveForeign(self._archive.store.url, before.manifest.namespace)
        gone = (await trimmed_to(log, partition)).entry_id
        position = before.manifest.last if before else NO_ENTRY
        if entry_order(gone) <= entry_order(position):
            key = log.keys.log(partition)
            if position == gone or await entry_page(log.redis, key, position, position, most=1):
                return position
            return await self._last_in_both(partition, links, gone)
        earlier = (await readers(log, partition)).get(ARCHIVE)
        if before is None and (earlier is None or earlier.position == gone):
            return gone
        raise Trimmed(partition, position, gone)

    async def _last_in_both(self, partition: int, links: Sequence[Link], gone: str) -> str:
        """Return the last archived entry that the log has, or had until it was trimmed up to
        `gone`: the server has lost what is archived after it. Where there is none, the log was
        emptied: the last that is archived."""
        key = self._log.keys.log(partition)
        for link in reversed(links):
            if entry_order(link.manifest.last) <= entry_order(gone):
                break
            archived, found = dict(await self._archive.entries(link)), b""
            at, last = link.manifest.first, link.manifest.last
            while rows := await entry_page(self._log.redis, key, at, last):
                same = [row[0] for row in rows if archived.get(row[0]) == list(row[1] or ())]
                found, at = same[-1] if same else found, f"({rows[-1][0].decode()}"
            if found:
                return found.decode()
        return gone if gone != NO_ENTRY else links[-1].manifest.last

    async def _next(self, partition: int, after: str) -> Filling:
        key, found = self._log.keys.log(partition), Filling()
        while rows := await entry_page(self._log.redis, key, f"({after}", most=PAGE_EVENTS):
            if found.add(cast("list[RawEntry]", rows)):
                break
            after = rows[-1][0].decode()
        return found

    async def _is_due(self, found: Filling, everything: bool) -> bool:
        if not found.entries or everything or found.is_full:
            return bool(found.entries)
        oldest_ms = entry_time_ms(found.entries[0][0].decode())
        return await server_time_ms(self._log.redis) - oldest_ms > OLDEST_S * 1000

    async def _write(
        self, partition: int, entries: list[RawEntry], before: Link | None, position: str
    ) -> bool:
        """Write one segment; False when another archiver has written it."""
        store, log = self._archive.store, self._log
        whose = (log.keys.namespace, log.generation, partition)
        content, manifest = await anyio.to_thread.run_sync(_segment, entries, before, *whose)
        if before is not None and position != before.manifest.last:
            manifest = replace(manifest, follows=position)
        await store.create(manifest.segment, content)
        again = await store.read(manifest.segment)
        if again is None or sha256_of(again) != manifest.sha256:
            raise ArchiveDamaged(manifest.segment, "it reads back as something else")
        graphs = await self._graphs.archive(partition, manifest.workflows)
        manifest = replace(manifest, graphs=graphs)
        return await store.create(manifest.name, write_manifest(manifest))


class Filling:
    """Entries of a segment that is not full yet."""

    def __init__(self) -> None:
        self.entries = list[RawEntry]()
        self._size_bytes = 0

    def add(self, page: Sequence[RawEntry]) -> bool:
        """Add entries until the segment is full, or all of them; say whether it is full then."""
        added = page[: SEGMENT_EVENTS - len(self.entries)]
        sizes = [sum(map(len, flat)) for _, flat in added]
        if self._size_bytes + sum(sizes) > SEGMENT_BYTES:
            before = accumulate(sizes, initial=self._size_bytes)
            sizes = [
                size for size, so_far in zip(sizes, before, strict=False) if so_far < SEGMENT_BYTES
            ]
        self.entries += added[: len(sizes)]
        self._size_bytes += sum(sizes)
        return self.is_full

    @property
    def is_full(self) -> bool:
        """Say whether no entry may be added."""
        return len(self.entries) >= SEGMENT_EVENTS or self._size_bytes >= SEGMENT_BYTES


def _segment(
    entries: Sequence[RawEntry],
    before: Link | None,
    namespace: str,
    generation: str,
    partition: int,
) -> tuple[bytes, Manifest]:
    records = list(records_of(entries))
    content = write_segment(entries, records)
    whose = {"namespace": namespace, "generation": generation}
    return content, make_manifest(records, content, before, partition=partition, **whose)
