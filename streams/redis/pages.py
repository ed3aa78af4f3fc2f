"""Pages: what is read from the server at once is bounded in bytes, by construction.

Rule: a page has PAGE_BYTES at most, or one item that is larger. The server counts what fits before
it is read, so this holds right after a change from small items to large ones, too. Only of logs
that had nothing a moment before a few entries each are read without that: see `read_new`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar, cast

from msgspec import Struct
from redis.asyncio import Redis

from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import Argument
from everfold.streams.errors import EverfoldError
from everfold.streams.events.json_text import decoder
from everfold.streams.events.limits import READ_LIMIT_BYTES
from everfold.streams.redis.redis_errors import command, reply_meaning
from everfold.streams.redis.script import Script

PAGE = 500
"""Most entries of a page."""

PAGE_BYTES = READ_LIMIT_BYTES
"""Most bytes of a page: half of what a server with a small limit of its output buffers sends."""

WALKED_BYTES = 8 * PAGE_BYTES
"""Most bytes that the server passes over in one call that only counts."""

Entries = list[tuple[bytes, list[bytes] | None]]
"""Entries as the server sends them: id, and flat fields, None where a pending entry was trimmed."""

T = TypeVar("T")

_count_entries = Script("everfold.streams", "count_entries", is_read_only=True)
_read_logs = Script("everfold.streams", "read_logs", is_read_only=True)
_scan_hash = Script("everfold.streams", "scan_hash", is_read_only=True)
_read_hashes = Script("everfold.streams", "read_hashes", is_read_only=True)


class Counted(Struct, frozen=True):
    """Entries that follow each other in a stream."""

    count: int
    size_bytes: int
    """Bytes of their ids, fields and values."""
    first: str
    """Id of the first one, empty when there is none."""
    last: str


async def count_entries(
    redis: Redis,
    key: str,
    first: str = "-",
    last: str = "+",
    *,
    most: int = PAGE,
    most_bytes: int = PAGE_BYTES,
) -> Counted:
    """Count the entries from `first` to `last`, as XRANGE takes them, up to both limits.

    The first entry counts whatever its size. Raises a leaf of Unavailable.
    """
    reply = await _count_entries.run(redis, (key,), (first, last, most, most_bytes))
    _, count, size_bytes, begin, end = cast("tuple[bytes, int, int, bytes, bytes]", tuple(reply))
    return Counted(count, size_bytes, begin.decode(), end.decode())


async def count_all_entries(
    redis: Redis, key: str, first: str = "-", last: str = "+", *, most: int = 2**53
) -> Counted:
    """Do as `count_entries`, whatever the entries' size, in several calls if need be."""
    found = Counted(0, 0, "", "")
    while found.count < most:
        at = f"({found.last}" if found.count else first
        left = most - found.count
        more = await count_entries(redis, key, at, last, most=left, most_bytes=WALKED_BYTES)
        if not more.count:
            break
        size_bytes = found.size_bytes + more.size_bytes
        found = Counted(found.count + more.count, size_bytes, found.first or more.first, more.last)
    return found


async def entry_page(
    redis: LedgerRedis, key: str, first: str = "-", last: str = "+", *, most: int = PAGE
) -> Entries:
    """Return the first entries from `first` to `last`, as XRANGE takes them: one page of them.

    An empty page is the end. Raises a leaf of Unavailable.
    """
    found = await count_entries(redis, key, first, last, most=most)
    if not found.count:
        return []
    ask = ("XRANGE", key, first, found.last)
    return cast("Entries", await command(redis, *ask, reply_bytes=found.size_bytes))


class LogPages(Struct, frozen=True):
    """What was read of several logs in one call."""

    found: dict[int, Entries | EverfoldError]
    """Of each log that has something, by its place; what is wrong with one is in place of it."""
    is_cut: bool
    """The bytes have ended it: there may be more in the last one, and in those behind it."""


async def read_logs(
    redis: Redis, after: Mapping[str, str], *, most: int, most_bytes: int = PAGE_BYTES
) -> LogPages:
    """Read what follows an entry id in each of some logs of one server: `most` entries of each.

    The first entry comes whatever its size. Raises a leaf of Unavailable.
    """
    arguments: list[Argument] = [most, most_bytes, *after.values()]
    _, is_cut, *found = await _read_logs.run(redis, [*after], arguments)
    places = cast("list[int]", found[::2])
    logs = [
        reply_meaning(one.decode()) if isinstance(one, bytes) else cast("Entries", one)
        for one in found[1::2]
    ]
    return LogPages(dict(zip(places, logs, strict=True)), bool(is_cut))


SOON_S = 0.25
"""What a server takes in so little time is not much, whatever the size of its entries."""

NEW = 16
"""Most entries of a log that are read without being measured."""


async def read_new(redis: Redis, after: Mapping[str, str], *, most: int = NEW) -> LogPages:
    """Read a few entries of each of some logs of one server that had nothing SOON_S ago: to measure
    them first costs several times what reading them does.

    Raises a leaf of Unavailable, also for a server that refuses to send so much, and what is wrong
    with any of the logs.
    """
    asked: list[Argument] = ["XREAD", "COUNT", most, "STREAMS", *after, *after.values()]
    reply = cast("list[tuple[bytes, Entries]] | None", await command(redis, *asked))
    places = {key.encode(): place for place, key in enumerate(after)}
    return LogPages({places[key]: rows for key, rows in reply or ()}, False)


async def hash_pages(redis: Redis, key: str) -> AsyncIterator[dict[bytes, bytes]]:
    """Yield a hash in pages. A field that changes meanwhile may come twice: the later one counts.

    Raises a leaf of Unavailable.
    """
    cursor = b"0"
    while True:
        _, cursor, *flat = cast(
            "list[bytes]", await _scan_hash.run(redis, (key,), (cursor, PAGE_BYTES))
        )
        yield dict(zip(flat[::2], flat[1::2], strict=True))
        if cursor == b"0":
            return


async def read_large_hash(redis: Redis, key: str) -> dict[bytes, bytes]:
    """Return a whole hash that may have any number of fields, read in pages. Raises as above."""
    found: dict[bytes, bytes] = {}
    async for page in hash_pages(redis, key):
        found |= page
    return found


class Hashes(Struct, frozen=True):
    """What some keys of one slot held at one moment."""

    time_ms: int
    """The server's clock at that moment, Unix ms."""
    found: dict[str, dict[bytes, bytes]]
    """The hashes that are small enough, {} for one that does not exist."""
    others: frozenset[str]
    """The keys that hold something else."""


async def read_hashes(redis: Redis, keys: Sequence[str]) -> Hashes:
    """Read some hashes in one call, PAGE_BYTES in all. Raises a leaf of Unavailable."""
    _, time_ms, *rows = await _read_hashes.run(redis, keys, (PAGE_BYTES,))
    pairs = list(zip(keys, rows, strict=True))
    lists = {key: cast("list[bytes]", row) for key, row in pairs if isinstance(row, list)}
    found = {key: dict(zip(row[::2], row[1::2], strict=True)) for key, row in lists.items()}
    others = frozenset(key for key, row in pairs if isinstance(row, bytes))
    return Hashes(cast("int", time_ms), found, others)


async def read_readable_hash(
    redis: Redis, key: str, kind: type[T], among: Hashes | None = None
) -> dict[str, T]:
    """Return a hash whose values are JSON of one type, empty when there is none; read in pages,
    unless it is `among` those that were just read.

    Entries that cannot be read are left out: somebody else wrote them. Raises as above.
    """
    decode = decoder(kind)
    found: dict[str, T] = {}
    known = among.found.get(key) if among is not None else None
    stored = await read_large_hash(redis, key) if known is None else known
    for name, text in stored.items():
        with suppress(ValueError):
            found[name.decode()] = decode(text)
    return found
