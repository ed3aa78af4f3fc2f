"""Trim the log: only what every reader and the archive have read, of jobs that have ended.

Rule: the cut is the least of what each registered reader and each consumer group has read, what is
archived, the first event of the oldest parked or held job, and the retention. The script that trims
stops at the first event of an open job, and looks at the readers once more: nothing is lost to one
that registers, or to a job that moves, meanwhile.
"""

from __future__ import annotations

from functools import partial
from typing import cast

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.events.record import NO_ENTRY, entry_before, entry_order
from everfold.streams.events.stored_fields import is_entry_id
from everfold.streams.reading.readers import ARCHIVE, group_positions, readers, shown_name
from everfold.streams.redis.namespace import read_importing
from everfold.streams.redis.pages import (
    WALKED_BYTES,
    Entries,
    count_all_entries,
    count_entries,
    entry_page,
    hash_pages,
)
from everfold.streams.redis.redis_errors import commands
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.script import Script
from everfold.streams.redis.server import server_time_ms

_trim = Script("everfold.streams", "trim")

NEEDED = "an open, parked or held job"
"""What holds a trim, in words: the events of a job that somebody will read again."""

RETENTION = "the retention"
"""The same of the age that events must have."""

RETENTION_S = 24 * 3600.0
"""Events younger than so many seconds stay in the log, archived or not."""


class TrimBound(Struct, frozen=True):
    """Something that holds the trim."""

    what: str
    """In words, such as `consumer group projector`."""
    entry_id: str
    """The last entry that it lets go."""


class TrimResult(Struct, frozen=True):
    """What was trimmed of a partition."""

    partition: int
    count: int
    """Events; with `dry_run` those that would be."""
    held_by: str
    """What holds the rest: the lowest bound, in words."""


async def trim_bounds(
    log: Log,
    partition: int,
    retention_s: float,
    *,
    needs_archive: bool = True,
    with_open: bool = True,
) -> list[TrimBound]:
    """Return everything that holds the trim of a partition, the lowest first; there is always one.

    With `needs_archive` a namespace without an archive holds everything. `with_open` looks for the
    first event of an open job too, which reads the log up to there. Raises a leaf of Unavailable.
    """
    now_ms = await server_time_ms(log.redis)
    known = await readers(log, partition)
    counting = {n: r for n, r in known.items() if r.required or r.until_ms > now_ms}
    found = [TrimBound(f"reader {name}", reader.position) for name, reader in counting.items()]
    for name, entry_id in (await group_positions(log, partition)).items():
        found.append(TrimBound(f"consumer group {name}", entry_id))
    if await read_importing(log.redis, log.keys):
        found.append(TrimBound("an unfinished import", NO_ENTRY))
    if needs_archive and ARCHIVE not in known:
        found.append(TrimBound("no archive", NO_ENTRY))
    if (first := await _first_parked_or_held(log, partition)) is not None:
        found.append(TrimBound(NEEDED, entry_before(first)))
    found.append(TrimBound(RETENTION, f"{max(0, now_ms - int(retention_s * 1000))}-0"))
    if with_open:
        lowest = min(found, key=_order).entry_id
        if (first := await _first_open(log, partition, lowest)) is not None:
            found.append(TrimBound(NEEDED, entry_before(first)))
    return sorted(found, key=_order)


def _order(bound: TrimBound) -> tuple[int, int]:
    return entry_order(bound.entry_id)


async def trim(
    log: Log,
    partition: int,
    retention_s: float = RETENTION_S,
    *,
    needs_archive: bool = True,
    dry_run: bool = False,
) -> TrimResult:
    """Trim one partition up to its lowest bound, page by page.

    Events younger than `retention_s` stay. `dry_run` only counts. Raises a leaf of Unavailable;
    what was trimmed by then is gone, and it may be repeated.
    """
    bounds = await trim_bounds(
        log, partition, retention_s, needs_archive=needs_archive, with_open=dry_run
    )
    lowest = bounds[0]
    if dry_run:
        key = log.keys.log(partition)
        found = await count_all_entries(log.redis, key, last=lowest.entry_id)
        return TrimResult(partition, found.count, lowest.what)
    key, count = log.keys.log(partition), 0
    last = lowest.entry_id
    count_page = partial(count_entries, log.redis, key, last=last, most_bytes=WALKED_BYTES)
    while True:
        page = max(1, (await with_retry(count_page, log.retry_for_s)).count)
        trimmed = await _trim_page(log, partition, lowest, page)
        count += trimmed.count
        if trimmed.held_by:
            return TrimResult(partition, count, trimmed.held_by)


async def trim_oldest(log: Log, partition: int, bound: TrimBound) -> tuple[TrimResult, Entries]:
    """Trim one page of the oldest entries up to a bound; return them, too, as they were.

    `held_by` is empty where there may be more to trim. Raises a leaf of Unavailable: then they
    may be gone.
    """
    rows = await entry_page(log.redis, log.keys.log(partition), last=bound.entry_id)
    found = await _trim_page(log, partition, bound, max(1, len(rows)))
    return found, rows[: found.count]


async def _trim_page(log: Log, partition: int, bound: TrimBound, most: int) -> TrimResult:
    """Trim at most so many entries. `held_by` is empty where there may be more."""
    keys = log.keys
    touched = (keys.log(partition), keys.readers(partition), keys.trimmed(partition))
    run = partial(_trim.run, log.redis, touched, (keys.tag(partition), bound.entry_id, most))
    reply = await with_retry(run, log.retry_for_s)
    if reply[0] == b"held":
        return TrimResult(partition, 0, shown_name(cast("bytes", reply[1])))
    count = cast("int", reply[1])
    if reply[0] == b"open":
        return TrimResult(partition, count, NEEDED)
    return TrimResult(partition, count, "" if count else bound.what)


async def _first_parked_or_held(log: Log, partition: int) -> str | None:
    """Return the entry id of the first event of the oldest job that a reader will read again."""
    keys = log.keys
    first = await _first_of(log, keys.parked(partition))
    async for page in hash_pages(log.redis, keys.subscriptions()):
        for name in page:
            held = keys.subscription(partition, name.decode(errors="replace")).held()
            found = [first, await _first_of(log, held)]
            first = min((one for one in found if one), key=entry_order, default=None)
    return first


async def _first_of(log: Log, jobs: str) -> str | None:
    """Return the least first entry of the jobs that are the fields of a hash."""
    first: str | None = None
    async for page in hash_pages(log.redis, jobs):
        asked = [
            ("HGET", log.keys.head(job_id.decode(errors="replace")), "first") for job_id in page
        ]
        firsts = cast("list[bytes | None]", await commands(log.redis, asked))
        # What is no entry id holds everything, until somebody has looked.
        ids = (text.decode() if is_entry_id(text) else NO_ENTRY for text in firsts if text)
        found = [first, *ids]
        first = min((one for one in found if one), key=entry_order, default=None)
    return first


async def _first_open(log: Log, partition: int, until: str) -> str | None:
    """Return the first entry of the log that is of an open job, None when there is none up to
    `until`. It costs as much as the log has entries before it."""
    key, after = log.keys.log(partition), "-"
    while rows := await entry_page(log.redis, key, after, until):
        heads = [log.keys.head(fields[1].decode(errors="replace")) for _, fields in rows if fields]
        asked = [("HMGET", head, "status", "phase") for head in heads]
        states = cast("list[list[bytes | None]]", await commands(log.redis, asked))
        for (entry_id, _), (status, phase) in zip(rows, states, strict=True):
            if status == b"open" and phase != b"replayed":
                return entry_id.decode()
        after = f"({rows[-1][0].decode()}"
    return None
