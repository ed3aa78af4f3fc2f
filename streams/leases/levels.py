"""Which registered processes can read what, and raising what a namespace's programs write.

Rule: a level is raised only when every registered process reads it. One that is not seen now, and
comes back later, is told that it is too old before it works on anything.
"""

from __future__ import annotations

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.errors import EverfoldError, Unavailable
from everfold.streams.events.codec import reader_level
from everfold.streams.leases.registry import (
    PROCESS_TTL_S,
    connected,
    living_processes,
    registered_runners,
)
from everfold.streams.redis import scripts
from everfold.streams.redis.keys import connection_name
from everfold.streams.redis.namespace import Levels, read_levels
from everfold.streams.redis.server import server_time_ms


class LogReader(Struct, frozen=True, kw_only=True):
    """A registered process that reads the log."""

    name: str
    kind: str
    host: str
    version: str
    """Of Everfold; empty where it is not known."""
    reader_level: int


class UpgradeStatus(Struct, frozen=True, kw_only=True):
    """What a namespace may be raised to, and who stands in the way."""

    levels: Levels
    known: int
    """The reader level of this program, to which levels would be raised."""
    readers: tuple[LogReader, ...]

    @property
    def too_old(self) -> tuple[LogReader, ...]:
        """The processes that could not read events of level `known`."""
        return tuple(reader for reader in self.readers if reader.reader_level < self.known)

    @property
    def is_done(self) -> bool:
        """Whether both levels are what this program knows, or above."""
        return min(self.levels.writes, self.levels.min_reader) >= self.known


async def upgrade_status(log: Log) -> UpgradeStatus:
    """Return the levels and every living process. Raises a leaf of Unavailable."""
    processes = [
        LogReader(
            name=name,
            kind=entry.kind,
            host=entry.host,
            version=entry.version,
            reader_level=entry.reader_level,
        )
        for name, entry in (await living_processes(log)).items()
    ]
    readers = sorted([*await _runners(log), *processes], key=lambda one: (one.kind, one.name))
    levels = await read_levels(log.redis, log.keys)
    return UpgradeStatus(levels=levels, known=reader_level(), readers=tuple(readers))


async def _runners(log: Log) -> list[LogReader]:
    entries, now_ms = await registered_runners(log), await server_time_ms(log.redis)
    names = await _connections(log)
    found: list[LogReader] = []
    for entry in entries.values():
        was_seen = now_ms - entry.seen_ms < PROCESS_TTL_S * 1000
        # An older program writes no time; where nobody can say who is connected, it counts.
        if was_seen or names is None or connection_name(entry.runner) in names:
            reader = LogReader(
                name=entry.runner,
                kind="runner",
                host=entry.host,
                version=entry.version,
                reader_level=entry.reader_level,
            )
            found.append(reader)
    return found


async def _connections(log: Log) -> frozenset[str] | None:
    """Return the names of all connections, None where this program may not, or cannot, see them."""
    try:
        names = await connected(log)
    except Unavailable:
        raise
    except EverfoldError:
        return None
    return names if connection_name(log.actor) in names else None


async def raise_levels(log: Log) -> UpgradeStatus:
    """Raise both levels to what this program knows, unless a living process is too old.

    Return what is true afterwards: `is_done` says whether they were raised. They never fall.
    Raises a leaf of Unavailable.
    """
    status = await upgrade_status(log)
    if not status.too_old:
        await scripts.raise_levels(log.redis, meta=log.keys.meta(), level=status.known)
    return await upgrade_status(log)
