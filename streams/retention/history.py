"""The whole history: archived events and those of the log, joined without gap or repeat.

Rule: the archive up to where it goes, then the log; where events are in neither, that is an error
and not a shorter answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import BrokenChain, JobUnknown, Trimmed
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_order
from everfold.streams.reading.reader import job_events, merged, partition_page
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.redis.pages import PAGE, PAGE_BYTES


async def job_history(
    log: Log, job_id: str, archive: Archive | None = None, after_seq: int = 0, until: str = ""
) -> list[Recorded]:
    """Return all events of a job with a sequence number above `after_seq`, in order.

    Of an id that was used again after its job was trimmed they are those of the newest job; with
    `until` those up to this entry, of the job that the entry is of. Raises JobUnknown, BrokenChain
    where one of them is in neither place, ArchiveDamaged, or a leaf of Unavailable.
    """
    try:
        live = await job_events(log, job_id, after_seq)
    except JobUnknown:
        live = []
    live = [record for record in live if _is_up_to(record, until)]
    if live and live[0].seq == after_seq + 1:
        return live
    before_seq = live[0].seq if live else 2**53
    archived: list[Recorded] = []
    if archive is not None:
        archived = await archive.job(log.keys.partition_of(job_id), job_id, before_seq)
        archived = [record for record in archived if _is_up_to(record, until)]
    found = [record for record in _newest([*archived, *live]) if record.seq > after_seq]
    if not found and not archived and not live:
        raise JobUnknown(job_id)
    for number, record in enumerate(found, after_seq + 1):
        if record.seq != number:
            raise BrokenChain(job_id, number, record.seq)
    return found


def _is_up_to(record: Recorded, entry_id: str) -> bool:
    return not entry_id or entry_order(record.entry_id) <= entry_order(entry_id)


def _newest(records: Sequence[Recorded]) -> Sequence[Recorded]:
    """Return the events of the newest of the jobs that had one id."""
    begins = [at for at, record in enumerate(records) if record.seq == 1]
    return records[begins[-1] :] if begins else records


async def history_pages(
    log: Log, partition: int, after: str = NO_ENTRY, archive: Archive | None = None, *, size: int
) -> AsyncIterator[list[Recorded]]:
    """Yield all events of a partition after an entry id, in pages of up to `size`, to its end.

    Pages of large events have fewer: PAGE_BYTES or one. It may be
    archived and trimmed meanwhile. Raises Trimmed where events are in neither place,
    ArchiveDamaged, or a leaf of Unavailable; what was yielded stays good.
    """
    while True:
        if archive is not None:
            async for segment in archive.pages(partition, after):
                for part in _parts(segment, size):
                    yield part
                after = segment[-1].entry_id
        page = await partition_page(log, partition, after, size)
        # Asked after the page was read, so that a trim before that read is noticed.
        gone = await trimmed_to(log, partition)
        if entry_order(gone.entry_id) > entry_order(after):
            if archive is None or not await _goes_beyond(archive, partition, after):
                raise Trimmed(partition, after, gone.entry_id)
            continue
        if page:
            yield page
            after = page[-1].entry_id
        else:
            return


def _parts(records: Sequence[Recorded], size: int) -> Iterator[list[Recorded]]:
    """Yield the records in pages of up to `size` of them and PAGE_BYTES, one at least."""
    part, size_bytes = list[Recorded](), 0
    for record in records:
        size_bytes += len(record.payload)
        if part and (len(part) == size or size_bytes > PAGE_BYTES):
            yield part
            part, size_bytes = [], len(record.payload)
        part.append(record)
    if part:
        yield part


async def _goes_beyond(archive: Archive, partition: int, after: str) -> bool:
    return entry_order(await archive.archived_to(partition)) > entry_order(after)


async def all_history(log: Log, archive: Archive | None = None) -> AsyncIterator[Recorded]:
    """Yield all events of all partitions, merged by time. Raises as `history_pages` does."""
    partitions = range(log.keys.partitions)
    async for record in merged([_one_by_one(log, partition, archive) for partition in partitions]):
        yield record


async def begun_again(records: AsyncIterator[Recorded]) -> dict[str, str]:
    """Return the first entry of the newest job of each id that was used again after a trim."""
    seen, again = set[str](), dict[str, str]()
    async for record in records:
        if record.seq == 1 and record.job_id in seen:
            again[record.job_id] = record.entry_id
        seen.add(record.job_id)
    return again


async def _one_by_one(log: Log, partition: int, archive: Archive | None) -> AsyncIterator[Recorded]:
    async for page in history_pages(log, partition, archive=archive, size=PAGE):
        for record in page:
            yield record
