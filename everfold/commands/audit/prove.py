"""`everfold audit prove`: the archive holds what was written, up to a head kept elsewhere."""

from __future__ import annotations

from typing import Annotated

from everfold.archives.opening import needed_archive
from everfold.commands.options import ArchiveUrl, chosen
from everfold.commands.output import emit, say
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.projector.reading.short_ids import find_job_id
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.manifest import Link
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import ArchiveDamaged, JobUnknown, Refused


async def prove(
    job_id: Annotated[str | None, chosen("Only the segments with events of this job.")] = None,
    *,
    head: Annotated[
        str | None,
        chosen("A chain's head that `everfold archive ls` showed earlier: it must be in a chain."),
    ] = None,
    archive: ArchiveUrl = "",
    session: Session = DEFAULT,
) -> int:
    """Check every segment against its manifest, and every manifest against the next one.

    The exit code is 1, with the name of the file, when a file is not as it was written. An archive
    in which nothing is proves nothing, and is refused.
    """
    async with session.log(role="auditor") as log:
        kept = await needed_archive(log, archive)
        job_id = await find_job_id(log, job_id) if job_id else ""
        every = range(log.keys.partitions)
        partitions = [log.keys.partition_of(job_id)] if job_id else list(every)
        try:
            events, chains = await _prove(kept, partitions, job_id, session)
        except ArchiveDamaged as error:
            return _told_wrong(str(error), session)
    if job_id and not events:
        raise JobUnknown(job_id)
    if not any(chains):
        raise Refused(f"{kept.store.url} has no archived events: there is nothing to prove")
    if head and not any(head == sha256 for chain in chains for sha256 in chain):
        return _told_wrong(f"no chain of this archive contains the head {head}", session)
    _print_chains(partitions, chains, session)
    if session.json:
        emit({"archived": events, "wrong": []})
    else:
        say((f"{events:,} archived events are what was written", "green"))
    return 0


def _told_wrong(sentence: str, session: Session) -> int:
    """Print what is wrong, and return the exit code."""
    if session.json:
        emit({"wrong": [sentence]})
    else:
        say((sentence, "red"))
    return 1


async def _prove(
    kept: Archive, partitions: list[int], job_id: str, session: Session
) -> tuple[int, list[list[str]]]:
    """Return how many events were checked, and the manifests' digests of each chain."""
    chains = [await kept.links(partition) for partition in partitions]
    wanted = [link for chain in chains for link in chain if not job_id or _has(link, job_id)]
    total, done, events = sum(link.manifest.count for link in wanted), 0, 0
    with event_progress("prove", session) as progress:
        for link in wanted:
            entries = await kept.checked(link)
            done += len(entries)
            events += _count(link, job_id) if job_id else len(entries)
            progress(done, total)
    return events, [[link.sha256 for link in chain] for chain in chains]


def _has(link: Link, job_id: str) -> bool:
    return job_id in link.manifest.jobs


def _count(link: Link, job_id: str) -> int:
    low, high = link.manifest.jobs[job_id]
    return high - low + 1


def _print_chains(partitions: list[int], chains: list[list[str]], session: Session) -> None:
    for partition, chain in zip(partitions, chains, strict=True):
        if chain:
            session.tell(
                {"partition": partition, "links": len(chain), "head": chain[-1]},
                f"partition {partition}: {quantity(len(chain), 'link')}, head {chain[-1]}",
            )
