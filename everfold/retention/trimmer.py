"""One step of keeping the log bounded: first what is too old, then the oldest while memory lacks.

Rule: work is bounded per step. What a reader, a group, an open, parked or held job needs is not
touched. With the events of a job that is over go its state and its graph, if memory lacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from msgspec import Struct

from everfold.erasing.steps import erase_state, forget_graph
from everfold.retention.keep import Keep, Memory, Pressure, pressure
from everfold.streams.appending.log import Log
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.errors import EverfoldError, Unavailable
from everfold.streams.events.event import Submitted
from everfold.streams.events.record import entry_order, entry_time_ms, recorded
from everfold.streams.reading.reader import first_entry_id
from everfold.streams.redis.each import each
from everfold.streams.redis.pages import Entries
from everfold.streams.redis.redis_errors import commands
from everfold.streams.redis.server import server_time_ms
from everfold.streams.retention.trimming import (
    RETENTION,
    TrimBound,
    TrimResult,
    trim_bounds,
    trim_oldest,
)

PAGES = 100
"""Most pages of one step; the next step goes on."""

AT_ONCE = 8
"""Partitions of which pages are trimmed at once, those with the oldest events."""

ReadMemory = Callable[[PipeliningRedis], Awaitable[Memory | None]]
"""Returns the memory of one server."""


class Trimmed(Struct, frozen=True):
    """What one step has trimmed, and what it could not."""

    events: int = 0
    freed_bytes: int = 0
    """Bytes that the server uses less than before; of a trim by age this is not measured."""
    held_by: str = ""
    """What holds the oldest event that should go, in words; empty for nothing."""
    is_pressed: bool = False
    """More memory is used than may be, still."""
    waits: bool = False
    """Nothing but the age of events is to be waited for."""
    error: EverfoldError | None = None
    """Why a server of a cluster could not be looked at, where others could."""


class Trimmer:
    """Trims one log. Two at once do no harm.

    With `needs_archive` nothing goes before an archive has begun: from then on it is a reader.
    """

    def __init__(
        self, log: Log, keep: Keep, read_memory: ReadMemory, *, needs_archive: bool = False
    ) -> None:
        self._log, self._keep, self._read_memory = log, keep, read_memory
        self._needs_archive = needs_archive

    async def trim_old(self) -> Trimmed:
        """Trim what is older than is kept. Raises a leaf of Unavailable; it may be repeated."""
        if self._keep.age_s is None:
            return Trimmed()
        held, age_s = dict[int, str](), self._keep.age_s
        before_ms = await server_time_ms(self._log.redis) - int(age_s * 1000)

        async def trim(partition: int) -> int:
            first, events = await first_entry_id(self._log, partition), 0
            if not first or entry_time_ms(first) >= before_ms:
                return 0
            bound = await self._bound(partition, age_s)
            for _ in range(PAGES):
                found, _rows = await trim_oldest(self._log, partition, bound)
                events += found.count
                if found.held_by:
                    held[partition] = found.held_by
                    break
            return events

        return Trimmed(
            sum((await each(self._log, trim, at_once=1)).all()), held_by=_what_holds(held)
        )

    async def trim_for_memory(self) -> Trimmed:
        """Trim the oldest events of each server while its log uses more memory than it may.

        Raises as above where no server answers.
        """
        outcomes = await asyncio.gather(
            *(self._trim_server(*one) for one in self._servers().items()), return_exceptions=True
        )
        each = [one for one in outcomes if isinstance(one, Trimmed)]
        errors = [one for one in outcomes if isinstance(one, BaseException)]
        others = [one for one in errors if not isinstance(one, EverfoldError)]
        if others or (errors and not each):
            raise (others or errors)[0]
        return Trimmed(
            sum(one.events for one in each),
            sum(one.freed_bytes for one in each),
            ", ".join(sorted({one.held_by for one in each if one.held_by})),
            any(one.is_pressed for one in each),
            any(one.waits for one in each),
            next((one for one in errors if isinstance(one, EverfoldError)), None),
        )

    def _servers(self) -> dict[PipeliningRedis, list[int]]:
        """Return the partitions of each server; those that nobody has now are left out."""
        found: dict[PipeliningRedis, list[int]] = {}
        for partition in range(self._log.keys.partitions):
            with suppress(Unavailable):
                server = self._log.redis.at(self._log.keys.log(partition))
                found.setdefault(server, []).append(partition)
        return found

    async def _trim_server(self, server: PipeliningRedis, partitions: list[int]) -> Trimmed:
        memory = await self._read_memory(server)
        wanted = pressure(self._keep, memory)
        if wanted is None or memory is None:
            return Trimmed()
        events, held, now = 0, dict[int, str](), memory
        outcomes = await each(self._log, partial(first_entry_id, self._log), partitions)
        outcomes.all()
        firsts, bounds = {p: f for p, f in outcomes.values.items() if f}, dict[int, TrimBound]()
        for _ in range(PAGES):
            left = sorted(firsts.keys() - held.keys(), key=lambda p: entry_order(firsts[p]))
            if not left or now.used <= wanted.down_to:
                break
            # Several at once: jobs that are written fast must not outrun the trim.
            for found, last in await asyncio.gather(
                *(self._trim_page(p, bounds, wanted) for p in left[:AT_ONCE])
            ):
                events += found.count
                if found.held_by:
                    held[found.partition] = found.held_by
                firsts[found.partition] = last or firsts[found.partition]
            now = await self._read_memory(server) or now
        is_pressed = now.used > wanted.down_to and pressure(self._keep, now) is not None
        freed = max(0, memory.used - now.used)
        holds, waits = _what_holds(held) if is_pressed else "", RETENTION in held.values()
        return Trimmed(events, freed, holds, is_pressed, waits)

    async def _trim_page(
        self, partition: int, bounds: dict[int, TrimBound], wanted: Pressure
    ) -> tuple[TrimResult, str]:
        """Trim one page of a partition, with what only its jobs needed; return its last entry."""
        if partition not in bounds:
            bounds[partition] = await self._bound(partition, wanted.spared_s)
        found, rows = await trim_oldest(self._log, partition, bounds[partition])
        await self._forget(partition, rows)
        return found, rows[-1][0].decode() if rows else ""

    async def _bound(self, partition: int, spared_s: float) -> TrimBound:
        found = await trim_bounds(
            self._log,
            partition,
            spared_s,
            needs_archive=self._needs_archive,
            with_open=False,
        )
        return found[0]

    async def _forget(self, partition: int, rows: Entries) -> None:
        """Delete the graphs that were submitted in these entries, and the states of jobs that the
        log does not know any more."""
        graphs, jobs = set[str](), dict[str, None]()
        for entry_id, fields in rows:
            record = recorded(entry_id, fields)
            if record.job_id:
                jobs[record.job_id] = None
            if isinstance(record.event, Submitted):
                graphs.add(record.event.stored)
        gone = await self._without_head(list(jobs))
        log = self._log
        await asyncio.gather(
            *(forget_graph(log, partition, graph) for graph in graphs),
            *(erase_state(log, job_id) for job_id in gone),
        )

    async def _without_head(self, jobs: Sequence[str]) -> list[str]:
        asked = [("EXISTS", self._log.keys.head(job_id)) for job_id in jobs]
        there = await commands(self._log.redis, asked)
        return [job_id for job_id, is_there in zip(jobs, there, strict=True) if not is_there]


def _what_holds(held: dict[int, str]) -> str:
    """Return what holds, without those where nothing but the time is left to wait for."""
    named = {what for what in held.values() if what != RETENTION}
    return ", ".join(sorted(named))
