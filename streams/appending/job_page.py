"""Reads one job's events along their chain, from the newest back, page by page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from everfold.streams.appending.outcomes import Appended, Looked
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.errors import EventIdForgotten
from everfold.streams.events.record import RawEntry, Recorded, recorded
from everfold.streams.redis import scripts
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.pages import PAGE, PAGE_BYTES
from everfold.streams.redis.retry import with_retry

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log


class JobPage(Struct, frozen=True):
    """What one call of read_job.lua answers."""

    outcome: bytes
    """`page`, or why the chain ends: unknown, trimmed, strange."""
    following: str
    """Entry id at which the next page begins, empty for none; of `strange` that of the entry."""
    events: list[Recorded]
    """The newest first."""


async def job_page(
    redis: LedgerRedis, keys: Keyspace, job_id: str, at: str, after_seq: int
) -> JobPage:
    """Return a page of a job's events above `after_seq`; it begins at `at`, by default the newest.

    Raises a leaf of Unavailable, without a retry.
    """
    reply = await scripts.read_job(
        redis,
        log=keys.log(keys.partition_of(job_id)),
        head=keys.head(job_id),
        job_id=job_id,
        at=at,
        after_seq=after_seq,
        most=PAGE,
        most_bytes=PAGE_BYTES,
    )
    outcome, *rest = cast("list[bytes]", reply[:2])
    following = rest[0].decode(errors="replace") if rest else ""
    rows = cast("list[RawEntry]", reply[2:])
    return JobPage(outcome, following, [recorded(entry_id, flat) for entry_id, flat in rows])


async def job_chain(log: Log, job_id: str, after_seq: int = 0) -> JobPage:
    """Return all pages of a job's events as one; `outcome` says why the chain ends.

    Raises a leaf of Unavailable when the server stayed away for the log's `retry_for_s`.
    """
    events, at = list[Recorded](), ""
    while True:
        read = partial(job_page, log.redis, log.keys, job_id, at, after_seq)
        page = await with_retry(read, log.retry_for_s)
        events += page.events
        at = page.following
        if page.outcome != b"page" or not at:
            return JobPage(page.outcome, at, events)


async def earlier_append(
    redis: LedgerRedis, keys: Keyspace, job_id: str, event_id: str, after_seq: int
) -> Appended | Looked:
    """Return where the job's event with this id is, or up to which seq no event has the id.

    A head remembers only the last ids of each author. It costs as much as the job has events: ask
    for an id that may have been forgotten. Events up to `after_seq` are not looked at. Raises
    EventIdForgotten where the log no longer has them all, a leaf of Unavailable.
    """
    at, newest_seq = "", after_seq
    while True:
        page = await job_page(redis, keys, job_id, at, after_seq)
        for record in page.events:
            if getattr(record.event, "id", None) == event_id:
                return Appended(record.seq, record.entry_id, duplicate=True)
            newest_seq = max(newest_seq, record.seq)
        if page.outcome in (b"trimmed", b"strange"):
            raise EventIdForgotten(job_id, event_id)
        if page.outcome == b"unknown" or not page.following:
            return Looked(newest_seq)
        at = page.following
