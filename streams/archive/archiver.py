"""Write the archive. The archiver is a required reader of the log: nothing is trimmed before it.

Rule: write the segment, read it back and compare, archive the graphs it needs, then create its
manifest, then move the reader's position in Redis. A death at any point leaves a segment without a
manifest, which means nothing, or a position that is behind, which the next run moves.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.manifest import (
    Link,
    Manifest,
    make_manifest,
    sha256_of,
    workflow_name,
    write_manifest,
)
from everfold.streams.archive.segment import write_segment
from everfold.streams.errors import ArchiveDamaged, ArchiveForeign, ArchiveUnavailable, Trimmed
from everfold.streams.events.record import NO_ENTRY, RawEntry, entry_order, entry_time_ms
from everfold.streams.reading.readers import ARCHIVE, readers, register, trimmed_to
from everfold.streams.redis.each import each
from everfold.streams.redis.pages import entry_page
from everfold.streams.redis.redis_errors import read_string
from everfold.streams.redis.server import server_time_ms

SEGMENT_EVENTS = 10_000
"""Events of a full segment."""

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
        self._why_no_store = None
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
            position = await self._position(partition, before)
            await register(self._log, partition, ARCHIVE, position)
            entries = await self._next(partition, position)
            if not await self._is_due(entries, everything):
                return Archived(partition, segments, events)
            if await self._write(partition, entries, before):
                segments, events = segments + 1, events + len(entries)
                self._note(len(entries))

    async def _position(self, partition: int, before: Link | None) -> str:
        """Return the entry after which to go on. An archive may begin after what was trimmed while
        there was none."""
        log = self._log
        if before is not None and before.manifest.generation != log.generation:
            raise ArchiveForeign(self._archive.store.url, before.manifest.namespace)
        gone = (await trimmed_to(log, partition)).entry_id
        position = before.manifest.last if before else NO_ENTRY
        if entry_order(gone) <= entry_order(position):
            return position
        earlier = (await readers(log, partition)).get(ARCHIVE)
        if before is None and (earlier is None or earlier.position == gone):
            return gone
        raise Trimmed(partition, position, gone)

    async def _next(self, partition: int, after: str) -> list[RawEntry]:
        key, entries = self._log.keys.log(partition), list[RawEntry]()
        while not (whole := _full_segment(entries)):
            rows = await entry_page(self._log.redis, key, f"({after}")
            if not rows:
                break
            entries += cast("list[RawEntry]", rows)
            after = rows[-1][0].decode()
        return whole or _full_segment(entries) or entries

    async def _is_due(self, entries: list[RawEntry], everything: bool) -> bool:
        if not entries or everything or _full_segment(entries):
            return bool(entries)
        oldest_ms = entry_time_ms(entries[0][0].decode())
        return await server_time_ms(self._log.redis) - oldest_ms > OLDEST_S * 1000

    async def _write(self, partition: int, entries: list[RawEntry], before: Link | None) -> bool:
        """Write one segment; False when another archiver has written it."""
        store, log = self._archive.store, self._log
        content = write_segment(entries)
        manifest = make_manifest(
            entries,
            content,
            before,
            namespace=log.keys.namespace,
            generation=log.generation,
            partition=partition,
        )
        await store.create(manifest.segment, content)
        again = await store.read(manifest.segment)
        if again is None or sha256_of(again) != manifest.sha256:
            raise ArchiveDamaged(manifest.segment, "it reads back as something else")
        graphs = await self._workflows(partition, manifest)
        manifest = replace(manifest, graphs=graphs)
        return await store.create(manifest.name, write_manifest(manifest))

    async def _workflows(self, partition: int, manifest: Manifest) -> list[str]:
        """Archive the graphs that are there; return their SHA-256."""
        archived = list[str]()
        store, keys = self._archive.store, self._log.keys
        for sha256 in manifest.workflows:
            graph = await read_string(self._log.redis, keys.workflow(partition, sha256))
            if graph is None and await self._archive.workflow(sha256) is None:
                continue
            if graph is not None:
                await store.create(workflow_name(sha256), gzip.compress(graph, mtime=0))
            archived.append(sha256)
        return archived


def _full_segment(entries: list[RawEntry]) -> list[RawEntry]:
    """Return as many entries as fill a segment, none while they do not."""
    size = 0
    for number, (_, flat) in enumerate(entries, 1):
        size += sum(map(len, flat))
        if number >= SEGMENT_EVENTS or size >= SEGMENT_BYTES:
            return entries[:number]
    return []
