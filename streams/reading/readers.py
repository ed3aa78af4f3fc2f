"""Registered readers of the log: what was not read by them is not trimmed.

Rule: a required reader holds the trim until a person removes it; a best-effort one holds it while
its lease lasts, and gets the exact range that it missed when it comes too late.
"""

from __future__ import annotations

import contextlib
from typing import cast

import msgspec
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.connections.replies import NoGroup
from everfold.streams.errors import WrongKeyType
from everfold.streams.events.checks import check_name
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.record import NO_ENTRY, entry_before, entry_order
from everfold.streams.events.stored_fields import is_entry_id, stored_entry_id, stored_number
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_time_ms

ARCHIVE = "archive"
"""The archiver's name as a reader."""


class Reader(Struct, frozen=True):
    """A registered reader in one partition."""

    position: str
    """Entry id up to which it has read everything."""
    required: bool
    until_ms: int = 0
    """Until when a best-effort reader holds the trim, Unix ms of the server; 0 when required."""


class Missed(Struct, frozen=True):
    """What was trimmed before a reader had read it: the entries after `after` up to `to`."""

    after: str
    to: str


class TrimmedTo(Struct, frozen=True):
    """The part of a partition that is no longer in the log."""

    entry_id: str = NO_ENTRY
    """The last entry that was trimmed; 0-0 for none."""
    count: int = 0
    """How many events were trimmed in all."""


async def register(
    log: Log, partition: int, name: str, position: str, *, lease_s: float | None = None
) -> Missed | None:
    """Register a reader with the entry id up to which it has read everything, or move it on.

    With `lease_s` seconds it is best-effort: it must be registered again within that time. Returns
    what was trimmed although this reader had not read it, None for nothing.
    Raises InvalidName with nothing written; a leaf of Unavailable.
    """
    check_name("reader", name)
    until_ms = await server_time_ms(log.redis) + int(lease_s * 1000) if lease_s is not None else 0
    reader = Reader(position, required=lease_s is None, until_ms=until_ms)
    key = log.keys.readers(partition)
    await command(log.redis, "HSET", key, name, msgspec.json.encode(reader))
    # After the registration: what is trimmed from now on waits for this reader.
    gone = await trimmed_to(log, partition)
    if entry_order(gone.entry_id) > entry_order(position):
        return Missed(position, gone.entry_id)
    return None


async def unregister(log: Log, partition: int, name: str) -> bool:
    """Stop holding the trim for a reader; False when there is none of the name.

    Raises a leaf of Unavailable.
    """
    return bool(await command(log.redis, "HDEL", log.keys.readers(partition), name))


async def readers(log: Log, partition: int) -> dict[str, Reader]:
    """Return name -> registered reader, those whose lease is over too. May raise Unavailable."""
    stored = await read_hash(log.redis, log.keys.readers(partition))
    return {shown_name(name): _reader(text) for name, text in stored.items()}


_decode = decoder(Reader)


def _reader(text: bytes) -> Reader:
    """Return a stored reader; one that cannot be read holds the trim until a person removes it."""
    with contextlib.suppress(NotJson):
        found = _decode(text)
        if is_entry_id(found.position.encode()):
            return found
    return Reader(NO_ENTRY, required=True)


async def trimmed_to(log: Log, partition: int) -> TrimmedTo:
    """Return what was trimmed of a partition so far. Raises WrongKeyType, a leaf of Unavailable."""
    stored = await read_hash(log.redis, log.keys.trimmed(partition))
    entry_id, count = stored_entry_id(stored, b"to"), stored_number(stored, b"count")
    if entry_id is None or count is None:
        raise WrongKeyType(f"{log.keys.trimmed(partition)} cannot be read: restore it")
    return TrimmedTo(entry_id, count)


async def group_positions(log: Log, partition: int) -> dict[str, str]:
    """Return consumer group -> entry id up to which everything is acknowledged.

    A group of another program may have any name: see `shown_name`. Raises a leaf of Unavailable.
    """
    key = log.keys.log(partition)
    if not await command(log.redis, "EXISTS", key):
        return {}
    found: dict[str, str] = {}
    for row in cast("list[list[bytes]]", await command(log.redis, "XINFO GROUPS", key)):
        facts = dict(zip(row[::2], row[1::2], strict=True))
        with contextlib.suppress(NoGroup):  # it was removed meanwhile
            asked = await command(log.redis, "XPENDING", key, facts[b"name"])
            first = cast("list[bytes | None]", asked)[1]
            read_to = facts[b"last-delivered-id"].decode()
            found[shown_name(facts[b"name"])] = entry_before(first.decode()) if first else read_to
    return found


def shown_name(name: bytes) -> str:
    """Return the name of a group or a reader; what is no UTF-8 is shown as `\\xff`."""
    return name.decode(errors="backslashreplace")
