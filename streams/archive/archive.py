"""Read an archive, and prove that it is what was written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

from everfold.streams.archive.folder import Store
from everfold.streams.archive.manifest import (
    Link,
    Manifest,
    jobs_of,
    manifest_name,
    read_manifest,
    sha256_of,
    workflow_name,
)
from everfold.streams.archive.segment import LINE_LIMIT_BYTES, read_segment, records_of, unpack
from everfold.streams.errors import ArchiveDamaged
from everfold.streams.events.record import NO_ENTRY, RawEntry, Recorded, entry_order
from everfold.streams.events.stored_fields import is_entry_id

GRAPHS_AT_ONCE = 16
"""Graphs that are in memory at once: LINE_LIMIT_BYTES each at most, far less as a rule."""


class Archive:
    """The archive in a store, read only. Manifests are kept in memory once they were read.

    Every call raises ArchiveUnavailable when the store cannot be read now, and ArchiveDamaged for
    a file that is missing or is not what was written.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._links: dict[int, list[Link]] = {}
        self._rewinds: dict[int, list[Manifest]] = {}
        """Partition -> those of its manifests that say what a server has lost."""

    async def links(self, partition: int) -> list[Link]:
        """Return the chain of a partition's manifests, in order; the list is the archive's own."""
        known = self._links.setdefault(partition, [])
        while True:
            name = manifest_name(partition, len(known))
            content = await self.store.read(name)
            if content is None:
                return known
            link = read_manifest(content, name)
            _check_link(known[-1] if known else None, link, name)
            known.append(link)
            if link.manifest.follows:
                self._rewinds.setdefault(partition, []).append(link.manifest)

    async def archived_to(self, partition: int) -> str:
        """Return the entry id up to which a partition is archived, 0-0 for not at all."""
        links = await self.links(partition)
        return links[-1].manifest.last if links else NO_ENTRY

    async def segment(self, link: Link) -> bytes:
        """Return the compressed bytes of a segment's file."""
        manifest = link.manifest
        content = await self.store.read(manifest.segment)
        if content is None:
            raise ArchiveDamaged(manifest.segment, "it is missing")
        if sha256_of(content) != manifest.sha256:
            raise ArchiveDamaged(manifest.segment, "its SHA-256 is not that of its manifest")
        return content

    async def entries(self, link: Link) -> list[RawEntry]:
        """Return a segment's entries, in order, but for those that a server had lost by the time
        when a later segment was written: the log goes on without them."""
        return self.kept(link, await self._all_entries(link))

    def kept(self, link: Link, found: list[RawEntry]) -> list[RawEntry]:
        """Return those of all entries of a segment that `entries` returns."""
        this = link.manifest
        later = (one for one in self._rewinds.get(this.partition, ()) if one.number > this.number)
        kept = min((entry_order(one.follows) for one in later), default=None)
        if kept is None or entry_order(this.last) <= kept:
            return found
        return [entry for entry in found if entry_order(entry[0].decode()) <= kept]

    async def _all_entries(self, link: Link) -> list[RawEntry]:
        manifest = link.manifest
        entries = list(read_segment(await self.segment(link), manifest.segment))
        if len(entries) != manifest.count:
            raise ArchiveDamaged(manifest.segment, f"it has {len(entries)} events")
        if not all(is_entry_id(entry_id) for entry_id, _ in entries):
            raise ArchiveDamaged(manifest.segment, "it has an entry without an id")
        ids = [entry_id.decode() for entry_id, _ in entries]
        orders = [entry_order(entry_id) for entry_id in ids]
        if not all(before < after for before, after in pairwise(orders)):
            raise ArchiveDamaged(manifest.segment, "its entries are not in order")
        if (ids[0], ids[-1]) != (manifest.first, manifest.last):
            raise ArchiveDamaged(manifest.segment, "it has other entries than its manifest says")
        return entries

    async def pages(self, partition: int, after: str = NO_ENTRY) -> AsyncIterator[list[Recorded]]:
        """Yield a partition's events after an entry id, in one list per segment."""
        for link in list(await self.links(partition)):
            if entry_order(link.manifest.last) <= entry_order(after):
                continue
            found = list(records_of(await self.entries(link)))
            if entry_order(link.manifest.first) <= (begin := entry_order(after)):
                found = [record for record in found if entry_order(record.entry_id) > begin]
            if found:
                yield found

    async def job(self, partition: int, job_id: str, before_seq: int) -> list[Recorded]:
        """Return a job's archived events with a sequence number below `before_seq`, in order.

        `partition` must be that of the job.
        """
        found: list[Recorded] = []
        for link in await self.links(partition):
            low, _ = link.manifest.jobs.get(job_id, (before_seq, 0))
            if low < before_seq:
                found += [
                    record
                    for record in records_of(await self.entries(link))
                    if record.job_id == job_id and record.seq < before_seq
                ]
        return found

    async def workflow(self, sha256: str) -> bytes | None:
        """Return an archived graph as JSON, None when it is not archived."""
        name = workflow_name(sha256)
        content = await self.store.read(name)
        return None if content is None else _graph(content, name, sha256)

    async def workflows(self, hashes: Sequence[str]) -> AsyncIterator[tuple[str, bytes | None]]:
        """Yield SHA-256 and archived graph, None when it is not archived; some are read at once."""
        for start in range(0, len(hashes), GRAPHS_AT_ONCE):
            some = hashes[start : start + GRAPHS_AT_ONCE]
            names = [workflow_name(sha256) for sha256 in some]
            contents = await self.store.read_all(names, LINE_LIMIT_BYTES)
            for sha256, name, content in zip(some, names, contents, strict=True):
                yield sha256, None if content is None else _graph(content, name, sha256)

    async def checked(self, link: Link) -> list[RawEntry]:
        """Return all entries of a segment, and read every graph that its jobs use.

        Raises ArchiveDamaged for a manifest that names other jobs, a graph that is missing, though
        it was archived, or one that is another one.
        """
        entries = await self._all_entries(link)
        if jobs_of(records_of(entries)) != link.manifest.jobs:
            raise ArchiveDamaged(link.manifest.name, "it names other jobs than its segment has")
        archived = frozenset(link.manifest.graphs)
        async for sha256, found in self.workflows(link.manifest.workflows):
            if found is None and sha256 in archived:
                raise ArchiveDamaged(workflow_name(sha256), "it is missing")
        return entries


def _graph(content: bytes, name: str, sha256: str) -> bytes:
    graph = unpack(content, name)
    if sha256_of(graph) != sha256:
        raise ArchiveDamaged(name, "its graph is another one than its name says")
    return graph


def _check_link(before: Link | None, link: Link, name: str) -> None:
    manifest = link.manifest
    if name != manifest_name(manifest.partition, manifest.number):
        raise ArchiveDamaged(name, "it is the manifest of another segment")
    if manifest.previous != (before.sha256 if before else ""):
        raise ArchiveDamaged(name, "it does not continue the chain of the manifest before")
    follows = manifest.follows or (before.manifest.last if before else NO_ENTRY)
    if before is not None and entry_order(manifest.first) <= entry_order(follows):
        raise ArchiveDamaged(name, "it repeats entries of the segment before")
