"""The proof of a job: its state is the fold of its events, and its archive is what was written.

Rule: it only reads, for PROVE_WITHIN_S at most; what was not read by then is said to be unproven.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct
from starlette.responses import Response

from everfold.projector.job.invariants import Difference
from everfold.projector.reading.verify import Report, verify_job
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.manifest import Link
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import ArchiveDamaged
from everfold.web.bodies import json_answer
from everfold.web.operation import Call, Operation
from everfold.web.own.answers import UNDER, job_id_of
from everfold.web.query import Query

PROVE_WITHIN_S = 20.0
SHOWN_DIFFERENCES = 50


class ProvenSegment(Struct, frozen=True, kw_only=True):
    """A segment of the archive that has events of the job."""

    name: str
    sha256: str
    first_seq: int
    last_seq: int


class Proof(Struct, frozen=True, kw_only=True):
    """Whether log, state and archive of a job agree."""

    job_id: str
    verdict: str
    """proven; differs, where something is not as it must be; or unproven, where it could not be
    looked at in time, or changed during every look."""
    sentences: list[str]
    events: int
    """Of the log that were checked."""
    differences: list[Difference]
    """The first 50."""
    segments: list[ProvenSegment]
    """Archived segments with events of it, each as its manifest says."""
    head: str
    """SHA-256 of the last manifest of their chain; empty without an archive."""
    archive_fault: str
    """What is wrong with the archive, empty for nothing."""


async def get_proof(call: Call) -> Response:
    """Prove a job."""
    Query(call.request, ())
    job = await call.gateway.job(call.caller, job_id_of(call))
    log = call.gateway.everfold.log
    segments, head, fault = list[ProvenSegment](), "", ""
    try:
        async with asyncio.timeout(PROVE_WITHIN_S):
            report = await verify_job(log, job.job_id)
            archive = await call.gateway.archive.get()
            if archive is not None:
                partition = log.keys.partition_of(job.job_id)
                segments, head, fault = await _archived(archive, partition, job.job_id)
    except TimeoutError:
        report = Report(0, 0, 0, [], unsettled=1)
    return json_answer(_proof(job.job_id, report, segments, head, fault))


async def _archived(
    archive: Archive, partition: int, job_id: str
) -> tuple[list[ProvenSegment], str, str]:
    """Return the segments of a job, the head of their chain, and what is wrong, if anything."""
    found = list[ProvenSegment]()
    try:
        links = await archive.links(partition)
        for link in links:
            if job_id in link.manifest.jobs:
                await archive.checked(link)
                found.append(_segment(link, job_id))
    except ArchiveDamaged as error:
        return found, "", str(error)
    return found, links[-1].sha256 if links else "", ""


def _segment(link: Link, job_id: str) -> ProvenSegment:
    first_seq, last_seq = link.manifest.jobs[job_id]
    return ProvenSegment(
        name=link.manifest.segment,
        sha256=link.manifest.sha256,
        first_seq=first_seq,
        last_seq=last_seq,
    )


def _proof(
    job_id: str, report: Report, segments: list[ProvenSegment], head: str, fault: str
) -> Proof:
    if report.differences or fault:
        verdict = "differs"
    else:
        verdict = "unproven" if report.unsettled else "proven"
    return Proof(
        job_id=job_id,
        verdict=verdict,
        sentences=[*_of_log(report), *_of_archive(segments, head, fault)],
        events=report.events,
        differences=report.differences[:SHOWN_DIFFERENCES],
        segments=segments,
        head=head,
        archive_fault=fault,
    )


def _of_log(report: Report) -> list[str]:
    if report.differences:
        return [f"{quantity(len(report.differences), 'difference')} from what the log says.",
                *map(str, report.differences[:SHOWN_DIFFERENCES])]  # fmt: skip
    if report.unsettled:
        return ["It changed during every look, or could not be read in time: ask again."]
    return [
        f"Its {report.events:,} events of the log follow one another without a gap.",
        "The stored state is what these events add up to, and its head and index agree.",
    ]


def _of_archive(segments: Sequence[ProvenSegment], head: str, fault: str) -> list[str]:
    if fault:
        return [f"The archive is not as it was written: {fault}."]
    if not head:
        return ["Nothing of it is archived."]
    chain = f"the chain of manifests is intact up to {head[:16]}"
    if not segments:
        return [f"Nothing of it is archived yet; {chain}."]
    return [f"Its {quantity(len(segments), 'archived segment')}: as written; {chain}."]


PROOF: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/jobs/{{job_id}}/proof", answer=get_proof,
        name="get_job_proof", role="reader", answers={200: Proof},
        summary="Prove that the state of a job is what its events add up to, and its archive.",
    ),
)  # fmt: skip
