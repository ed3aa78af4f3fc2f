"""Check an archive against the log: no gap between the two, and the same events in both."""

from __future__ import annotations

from collections.abc import AsyncIterator

from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import ArchiveDamaged
from everfold.streams.events.record import RawEntry, entry_order
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.redis.pages import count_all_entries, entry_page


async def check_archive(log: Log, archive: Archive, partition: int) -> AsyncIterator[int | str]:
    """Yield the number of events of each segment, and a sentence for each fault that is found.

    It stops at the first file that is damaged. Raises a leaf of Unavailable.
    """
    try:
        links = await archive.links(partition)
        for link in links:
            entries = await archive.checked(link)
            yield len(entries)
            kept = archive.kept(link, entries)
            if kept and (difference := await _differs(log, partition, kept)) is not None:
                yield f"{link.manifest.segment}: {difference}"
    except ArchiveDamaged as error:
        yield str(error)
        return
    gone, archived = await trimmed_to(log, partition), await archive.archived_to(partition)
    if entry_order(gone.entry_id) > entry_order(archived):
        yield (
            f"partition {partition}: the log was trimmed up to {gone.entry_id}, "
            f"but only {archived} is archived"
        )


async def _differs(log: Log, partition: int, entries: list[RawEntry]) -> str | None:
    """Compare a segment with what the log still has of it, byte for byte."""
    key, last = log.keys.log(partition), entries[-1][0].decode()
    at = entries[0][0].decode()
    count = (await count_all_entries(log.redis, key, at, last)).count
    if count > len(entries):
        return f"the log has {count} events where the segment has {len(entries)}"
    expected = iter(entries[len(entries) - count :])
    while rows := await entry_page(log.redis, key, at, last):
        for row, kept in zip(rows, expected, strict=False):
            if (row[0], list(row[1] or ())) != kept:
                return f"event {row[0].decode()} is another one in the log"
        at = f"({rows[-1][0].decode()}"
    return None
