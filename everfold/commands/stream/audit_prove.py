"""`everfold audit prove`: that the archive is what was written, up to a head kept elsewhere."""

from __future__ import annotations

from everfold.archives.opening import needed_archive
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.commands.stream.archive import Place
from everfold.commands.words import console, emit
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.manifest import Link
from everfold.streams.errors import ArchiveDamaged, JobUnknown


async def prove(
    job_id: str = "", *, head: str = "", archive: Place = "", session: Session = DEFAULT
) -> int:
    """Check every segment against its manifest, and every manifest against the next one.

    Exit code 1, and the file that is not what was written, when something was changed.

    Parameters
    ----------
    job_id
        Only the segments that hold events of this job.
    head
        A head that `everfold archive ls` printed earlier: it must be in the chain.
    """
    async with session.open() as everfold:
        kept = await needed_archive(everfold.log, archive)
        every = range(everfold.log.keys.partitions)
        partitions = [everfold.log.keys.partition_of(job_id)] if job_id else list(every)
        try:
            events, heads = await _prove(kept, partitions, job_id, session)
        except ArchiveDamaged as error:
            console.print(str(error), style="red", markup=False)
            return 1
    if job_id and not events:
        raise JobUnknown(job_id)
    if head and not any(head == sha256 for chain in heads for sha256 in chain):
        console.print(f"no chain of this archive contains the head {head}", style="red")
        return 1
    _tell(events, heads, partitions, session)
    return 0


async def _prove(
    kept: Archive, partitions: list[int], job_id: str, session: Session
) -> tuple[int, list[list[str]]]:
    chains = [await kept.links(partition) for partition in partitions]
    wanted = [link for chain in chains for link in chain if not job_id or _has(link, job_id)]
    total, done, events = sum(link.manifest.count for link in wanted), 0, 0
    with event_progress("prove", session) as tell:
        for link in wanted:
            entries = await kept.entries(link)
            done += len(entries)
            events += _count(link, job_id) if job_id else len(entries)
            tell(done, total)
    return events, [[link.sha256 for link in chain] for chain in chains]


def _has(link: Link, job_id: str) -> bool:
    return job_id in link.manifest.jobs


def _count(link: Link, job_id: str) -> int:
    low, high = link.manifest.jobs[job_id]
    return high - low + 1


def _tell(events: int, heads: list[list[str]], partitions: list[int], session: Session) -> None:
    for partition, chain in zip(partitions, heads, strict=True):
        if not chain:
            continue
        if session.json:
            emit({"partition": partition, "links": len(chain), "head": chain[-1]})
        else:
            console.print(f"partition {partition}: {len(chain)} link(s), head {chain[-1]}")
    if not session.json:
        console.print(f"{events:,} archived events are what was written", style="green")
