"""Passes on what backends say of the jobs that run: a capped stream per partition.

Rule: nothing waits for it, and nothing is decided by it. A runner writes only while `listen` was
called lately, by whoever looks on. A preview stands in a key of its own, the newest one of a job,
and the stream has a notice of it. All of it is gone a minute after the last message.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from everfold.streams.appending.log import Log
from everfold.streams.connections.connection import Argument
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.record import entry_time_ms
from everfold.streams.live.live_message import (
    PREVIEW_LIMIT_BYTES,
    PREVIEW_TTL_S,
    LiveEntry,
    Preview,
    decoded,
    encoded,
)
from everfold.streams.redis.hints import send_hint
from everfold.streams.redis.pages import Entries
from everfold.streams.redis.redis_errors import command, commands

LIVE_ENTRIES = 512
"""About so many messages of a partition are kept."""
LIVE_TTL_S = 60

LISTEN_TTL_S = 15.0
"""A listener that has not called `listen` for so long is gone."""
LISTEN_EVERY_S = 5.0

LISTEN = "listen"
"""The hint that somebody listens now."""

FIELDS = [b"j", b"a", b"d"]
"""Names of an entry's fields: job, attempt, message as JSON."""


_read_head = decoder(tuple[str, str])


async def listen(log: Log, *, now: bool) -> None:
    """Have runners pass on what they hear, for LISTEN_TTL_S; with `now` they begin at once.

    Raises a leaf of Unavailable.
    """
    ttl_ms = int(LISTEN_TTL_S * 1000)
    await command(log.redis, "SET", log.keys.listening(), "1", "PX", ttl_ms)
    if now:
        await send_hint(log.redis, log.keys.wake(), LISTEN)


async def pass_on(
    log: Log, entries: Sequence[LiveEntry], previews: Sequence[tuple[str, Preview]] = ()
) -> None:
    """Write messages in their order, and new previews (job and picture) before them.

    What is too large, or no JSON, is left out. Raises a leaf of Unavailable.
    """
    asked = [_kept(log, job_id, preview) for job_id, preview in previews]
    written = set[int]()
    for entry in entries:
        text = encoded(entry.message)
        if text is not None:
            partition = log.keys.partition_of(entry.job_id)
            written.add(partition)
            asked.append(_added(log, partition, entry, text))
    asked += [("PEXPIRE", log.keys.live(one), LIVE_TTL_S * 1000) for one in sorted(written)]
    await commands(log.redis, asked)


def _added(log: Log, partition: int, entry: LiveEntry, text: bytes) -> Sequence[Argument]:
    key, job = log.keys.live(partition), entry.job_id
    return ("XADD", key, "MAXLEN", "~", LIVE_ENTRIES, "*", "j", job, "a", entry.attempt, "d", text)


def _kept(log: Log, job_id: str, preview: Preview) -> Sequence[Argument]:
    head = msgspec.json.encode([preview.node, preview.media_type])
    key, ttl_ms = log.keys.preview(job_id), PREVIEW_TTL_S * 1000
    return ("SET", key, head + b"\n" + preview.image, "PX", ttl_ms)


async def newest_previews(log: Log, job_ids: Collection[str]) -> dict[str, Preview]:
    """Return the newest preview of each job that has one. Raises a leaf of Unavailable."""
    ids = list(job_ids)
    asked = [("GET", log.keys.preview(job_id)) for job_id in ids]
    found = await commands(log.redis, asked, [PREVIEW_LIMIT_BYTES] * len(asked))
    pairs = zip(ids, found, strict=True)
    return {job_id: one for job_id, text in pairs if (one := _preview(text)) is not None}


def _preview(text: object) -> Preview | None:
    if not isinstance(text, bytes) or len(text) > 2 * PREVIEW_LIMIT_BYTES:
        return None
    head, _, image = text.partition(b"\n")
    try:
        node, media_type = _read_head(head)
    except NotJson:
        return None
    return Preview(node, media_type, image)


def live_entries(rows: Entries) -> list[LiveEntry]:
    """Return the messages of entries as the server sends them; strange ones are left out."""
    found = (_entry(entry_id, fields) for entry_id, fields in rows)
    return [entry for entry in found if entry is not None]


def _entry(entry_id: bytes, fields: list[bytes] | None) -> LiveEntry | None:
    if fields is None or fields[::2] != FIELDS:
        return None
    job, attempt, text = fields[1::2]
    message = decoded(text)
    if message is None or not attempt.isdigit() or len(attempt) > 9:
        return None
    at_ms = entry_time_ms(entry_id.decode())
    return LiveEntry(job.decode(errors="replace"), int(attempt), message, at_ms)
