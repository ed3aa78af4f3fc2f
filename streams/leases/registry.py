"""Registry of runners and of other processes, and the client names that the server lists.

Rule: a registered runner keeps at least one connection with its name for as long as it lives, so
that its death shows in CLIENT LIST long before its leases run out. A wrong guess does no harm:
the leases are fenced.
"""

from __future__ import annotations

import asyncio
import os
import socket
from functools import cache
from importlib import metadata
from typing import cast

import msgspec
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.events.codec import reader_level
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.redis.pages import Hashes, read_readable_hash
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms


class RunnerEntry(Struct, frozen=True, kw_only=True):
    """What a runner says of itself when it starts."""

    runner: str
    host: str
    pid: int
    queues: tuple[str, ...]
    backends: tuple[str, ...]
    """Base URLs."""
    since_ms: int
    """When it started, Unix ms."""
    is_named: bool = True
    """Whether the server lists its connections by their name."""
    instance: str = ""
    """Differs for each process start, even of one name."""
    seen_ms: int = 0
    """Server time of its last heartbeat, Unix ms; 0 of a program that writes none."""
    version: str = ""
    reader_level: int = 1
    """Which events it can read; see events/codec.py."""
    reaches: tuple[str, ...] = ()
    """Names of the backends that it reaches now."""
    jobs: int = 0
    """How many jobs it held at its last heartbeat."""
    is_draining: bool = False
    """It takes no new jobs and ends soon."""
    assets: str = ""
    """Where it stores files, empty for nowhere."""
    assets_trouble: str = ""
    """Why it could not write there when it last looked, empty where it could."""
    titles: dict[str, str] = {}
    """Base URL -> what people call it, of the backends to which somebody gave a name."""


class ProcessEntry(Struct, frozen=True, kw_only=True):
    """A process that reads the log and is no runner: a projector, a consumer, a producer."""

    kind: str
    host: str
    pid: int
    seen_ms: int
    version: str = ""
    reader_level: int = 1


def place_on(url: str, host: str) -> str:
    """Return where files are stored, for a comparison: a folder's path is of one machine only."""
    return url if "://" in url else f"{url} on {host}"


_decode = decoder(RunnerEntry)

BEAT_EVERY_S = 2.0
"""How often a runner writes its entry, and what it sees of its backends."""

LATELY_S = 3 * BEAT_EVERY_S
"""What was written within so long is still so."""

PROCESS_TTL_S = 60.0
"""A process that was not seen for so long has ended."""


def silence_s(seen_ms: int, now_ms: int) -> float:
    """Return the seconds since somebody was heard of, both times by the server's clock.

    A time ahead is from before the clock was set back: it counts as one that is as long ago.
    """
    return abs(now_ms - seen_ms) / 1000


async def register_runner(log: Log, entry: RunnerEntry) -> None:
    """Add a runner, or replace the entry of its name. It stays until it is deregistered.

    Raises a leaf of Unavailable.
    """
    payload = msgspec.json.encode(entry)
    await command(log.redis, "HSET", log.keys.runners(), entry.runner, payload)


async def registered_runner(log: Log, runner: str) -> RunnerEntry | None:
    """Return the entry of one name, None where there is none that can be read.

    Raises a leaf of Unavailable.
    """
    text = await command(log.redis, "HGET", log.keys.runners(), runner)
    try:
        return _decode(text) if isinstance(text, bytes) else None
    except NotJson:
        return None


async def note_process(log: Log, name: str, kind: str) -> None:
    """Say that a process lives and what it can read. Raises a leaf of Unavailable."""
    entry = ProcessEntry(
        kind=kind,
        host=socket.gethostname(),
        pid=os.getpid(),
        seen_ms=await server_time_ms(log.redis),
        version=program_version(),
        reader_level=reader_level(),
    )
    await command(log.redis, "HSET", log.keys.processes(), name, msgspec.json.encode(entry))


async def forget_process(log: Log, name: str) -> None:
    await command(log.redis, "HDEL", log.keys.processes(), name)


async def living_processes(log: Log) -> dict[str, ProcessEntry]:
    """Return the processes that `note_process` named lately; forget the others.

    Raises a leaf of Unavailable.
    """
    found = await read_readable_hash(log.redis, log.keys.processes(), ProcessEntry)
    oldest_ms = await server_time_ms(log.redis) - int(PROCESS_TTL_S * 1000)
    for name in [name for name, entry in found.items() if entry.seen_ms < oldest_ms]:
        await forget_process(log, name)
        del found[name]
    return found


@cache
def program_version() -> str:
    """Return the version of Everfold that this program runs, empty where it is not installed."""
    try:
        return metadata.version("everfold")
    except metadata.PackageNotFoundError:
        return ""


async def deregister_runner(log: Log, runner: str) -> None:
    """Remove a runner that has ended, or that is dead and has no leases any more.

    Does nothing when there is none. Raises a leaf of Unavailable.
    """
    await command(log.redis, "HDEL", log.keys.runners(), runner)
    await command(log.redis, "HDEL", log.keys.drains(), runner)


async def registered_runners(log: Log, among: Hashes | None = None) -> dict[str, RunnerEntry]:
    """Return every registered runner by name, the dead ones too; unreadable entries are left out.
    They are not read again where they are `among` what was just read.

    Raises a leaf of Unavailable.
    """
    return await read_readable_hash(log.redis, log.keys.runners(), RunnerEntry, among)


async def connected(log: Log) -> frozenset[str]:
    """Return the names of all connections that all primaries have; see `keys.connection_name`.

    Of connections without a name nothing is said. Raises a leaf of Unavailable where one primary
    does not answer: then nobody may be taken for dead. Raises ServerRefusesAccess where the user
    may not ask for CLIENT LIST.
    """
    asked = [command(node, "CLIENT LIST") for node in log.redis.primaries()]
    texts = [cast("bytes", text).decode() for text in await asyncio.gather(*asked)]
    names = (part[5:] for text in texts for part in text.split() if part.startswith("name="))
    return frozenset(name for name in names if name)
