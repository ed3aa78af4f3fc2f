"""GET /archive: what of the log is archived, and whether the chains of manifests are intact.

Rule: it reads manifests, each once, for READ_WITHIN_S; the bytes of segments are proven by
`everfold audit prove`, or job by job by `/jobs/{id}/proof`.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct
from starlette.responses import Response

from everfold.streams.archive.archive import Archive
from everfold.streams.archive.manifest import Link
from everfold.streams.border.addresses import masked_address
from everfold.streams.errors import ArchiveDamaged
from everfold.streams.events.record import entry_time_ms
from everfold.web.bodies import json_answer
from everfold.web.operation import Call, Operation
from everfold.web.own.answers import UNDER, check_sees_all
from everfold.web.query import Query

READ_WITHIN_S = 15.0
SEGMENTS_LIMIT = 50
"""Segments of a partition that are told, the newest ones."""


class ArchivedSegment(Struct, frozen=True, kw_only=True):
    """One segment."""

    name: str
    sha256: str
    events: int
    jobs: int
    from_ms: int
    until_ms: int


class Chain(Struct, frozen=True, kw_only=True):
    """What of one partition is archived."""

    partition: int
    segments: int
    events: int
    from_ms: int | None
    """Time of the first archived event; None where there is none."""
    until_ms: int | None
    head: str
    """SHA-256 of the last manifest, which vouches for all before; empty without any."""
    fault: str
    """What is wrong with the chain, empty for nothing."""
    newest: list[ArchivedSegment]
    """The newest 50 segments, in order."""


class ArchiveState(Struct, frozen=True, kw_only=True):
    """The archive of the namespace."""

    place: str
    """Empty where there is none."""
    is_intact: bool
    """No chain that was read has a fault."""
    is_complete: bool
    """False where not all manifests were read in time: ask again, it goes on."""
    chains: list[Chain]


async def get_archive(call: Call) -> Response:
    """Say what is archived."""
    check_sees_all(call.caller)
    Query(call.request, ())
    archive = await call.gateway.archive.get()
    if archive is None:
        told = ArchiveState(place="", is_intact=True, is_complete=True, chains=[])
        return json_answer(told)
    chains, is_complete = list[Chain](), True
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            for partition in range(call.gateway.everfold.log.keys.partitions):
                chains.append(await _chain(archive, partition))
    except TimeoutError:
        is_complete = False
    return json_answer(
        ArchiveState(
            place=masked_address(archive.store.url),
            is_intact=not any(one.fault for one in chains),
            is_complete=is_complete,
            chains=chains,
        )
    )


async def _chain(archive: Archive, partition: int) -> Chain:
    links, fault = list[Link](), ""
    try:
        links = await archive.links(partition)
    except ArchiveDamaged as error:
        fault = str(error)
    return Chain(
        partition=partition,
        segments=len(links),
        events=sum(link.manifest.count for link in links),
        from_ms=entry_time_ms(links[0].manifest.first) if links else None,
        until_ms=links[-1].manifest.until_ms if links else None,
        head=links[-1].sha256 if links else "",
        fault=fault,
        newest=[_segment(link) for link in links[-SEGMENTS_LIMIT:]],
    )


def _segment(link: Link) -> ArchivedSegment:
    manifest = link.manifest
    return ArchivedSegment(
        name=manifest.segment,
        sha256=manifest.sha256,
        events=manifest.count,
        jobs=len(manifest.jobs),
        from_ms=entry_time_ms(manifest.first),
        until_ms=manifest.until_ms,
    )


ARCHIVE: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/archive", answer=get_archive, name="get_archive",
        role="reader", answers={200: ArchiveState},
        summary="Say what of the log is archived, and whether the chains are intact.",
    ),
)  # fmt: skip
