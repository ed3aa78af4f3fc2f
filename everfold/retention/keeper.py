"""Keeps the log of a namespace bounded while a process runs: one process of all that could.

Rule: the owner has a lease; two at once would do no harm. Trouble is told once and waited out: it
never ends the process in which this runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from msgspec import Struct

from everfold.archives.opening import remember_archive
from everfold.projector.assignment.member import Member
from everfold.retention.keep import (
    LOOK_AT_LEAST_EVERY_S,
    LOOK_EVERY_S,
    Keep,
    Memory,
    look_after_s,
    read_memory,
)
from everfold.retention.trimmer import Trimmed, Trimmer
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.errors import EverfoldError
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_info, server_time_ms

logger = get_logger("everfold.retention")

LEASE_S, RENEW_EVERY_S = 15.0, 3.0
OLD_EVERY_S = 60.0
ARCHIVE_EVERY_S = 10.0
TELL_EVERY_S = 60.0
NOTE_EVERY_S = 30.0

FIELD = "kept"

UNSEEN = "the server refuses INFO to this user: events are trimmed by their age alone"


class Kept(Struct, frozen=True, kw_only=True):
    """What the owner keeps, and what it did last: for `everfold doctor` and other processes."""

    age_s: float | None = None
    share: float | None = None
    by: str = ""
    at_ms: int = 0
    """When this was written, Unix ms of the server."""
    archive: str = ""
    events: int = 0
    """Events that this owner has trimmed."""
    held_by: str = ""
    """What keeps more in memory than may be, empty for nothing."""


_read_kept = decoder(Kept)


class LogKeeper:
    """Trims a log, and archives it first where there is an `archive`; see `run`.

    With `needs_archive` another part of the process archives: nothing goes before that has begun.
    """

    def __init__(
        self,
        log: Log,
        name: str,
        keep: Keep,
        archive: Archive | None = None,
        *,
        needs_archive: bool = False,
    ) -> None:
        self._log, self._keep, self._archive = log, keep, archive
        self._member = Member(log, "retention", name, LEASE_S)
        needs = needs_archive or archive is not None
        self._trimmer = Trimmer(log, keep, self._memory, needs_archive=needs)
        self._name, self._events = name, 0
        self._owns_until_s = self._told_at_s = -1.0
        self._is_pressed, self._held_by, self._said = False, "", ""
        self._is_blind = False
        self._look_after_s = LOOK_EVERY_S

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keep the log bounded until cancelled, while no other process does.

        Reports itself started at once. Nothing that goes wrong is raised.
        """
        task_status.started()
        if not self._keep.is_on and self._archive is None:
            return
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._again, self._own, lambda: RENEW_EVERY_S)
                tasks.start_soon(self._again, self._free, lambda: self._look_after_s)
                tasks.start_soon(self._again, self._trim_old, lambda: OLD_EVERY_S)
                tasks.start_soon(self._again, self._note, lambda: NOTE_EVERY_S)
                if self._archive is not None:
                    tasks.start_soon(self._archive_for_ever, self._archive)
        finally:
            with anyio.move_on_after(1.0, shield=True), contextlib.suppress(EverfoldError):
                await self._member.release(self._log.keys.retention())

    async def _again(self, act: Callable[[], object], pause_s: Callable[[], float]) -> None:
        while True:
            try:
                if act == self._own or self._owns:
                    await act()  # type: ignore[misc]  # all of them are coroutine functions
                    if self._owns:
                        self._said = ""
            except EverfoldError as error:
                self._tell(error)
            # What does not own looks often, so that it begins soon after it does.
            await anyio.sleep(pause_s() if self._owns else min(pause_s(), RENEW_EVERY_S))

    @property
    def _owns(self) -> bool:
        return anyio.current_time() < self._owns_until_s

    def _tell(self, error: EverfoldError) -> None:
        said = f"{type(error).__name__}: {error}"
        if said != self._said:
            logger.warning("retention_waits why=%r", said)
        self._said = said

    async def _own(self) -> None:
        asked_s = anyio.current_time()
        acquired = await self._member.acquire(self._log.keys.retention())
        self._owns_until_s = asked_s + LEASE_S - RENEW_EVERY_S if acquired else -1.0
        if acquired is not None and acquired.is_new:
            await self._note()

    async def _memory(self, server: PipeliningRedis) -> Memory | None:
        found = read_memory(await server_info(server, "memory"))
        self._look_after_s = min(self._look_after_s, look_after_s(self._keep, found))
        if found is None and not self._is_blind:
            logger.warning("memory_unseen share=%s why=%r", self._keep.share, UNSEEN)
        self._is_blind = found is None
        return found

    async def _trim_old(self) -> None:
        self._count(await self._trimmer.trim_old(), "age")

    async def _free(self) -> None:
        while self._owns:
            self._look_after_s = LOOK_AT_LEAST_EVERY_S
            found = await self._trimmer.trim_for_memory()
            self._count(found, "memory")
            self._is_pressed, before = found.is_pressed, self._held_by
            self._held_by = found.held_by
            if found.is_pressed and not found.events and (found.held_by or not found.waits):
                self._warn(found)
            if before != self._held_by:
                await self._note()
            if found.error is not None:
                raise found.error  # what the others had to trim is trimmed
            if not found.is_pressed or not found.events:
                return

    def _count(self, found: Trimmed, why: str) -> None:
        self._events += found.events
        if found.events:
            told = (found.events, found.freed_bytes, why, found.held_by)
            logger.info("log_trimmed events=%d freed_bytes=%d why=%s held_by=%r", *told)

    def _warn(self, found: Trimmed) -> None:
        """Say, now and then, that memory stays above its limit although nothing more may go."""
        now_s = anyio.current_time()
        if self._told_at_s < 0 or now_s - self._told_at_s > TELL_EVERY_S:
            held = found.held_by or "nothing in the log: other keys of the server"
            logger.warning("memory_above_limit share=%s held_by=%r", self._keep.share, held)
            self._told_at_s = now_s

    async def _note(self) -> None:
        kept = Kept(
            age_s=self._keep.age_s,
            share=self._keep.share,
            by=self._name,
            at_ms=await server_time_ms(self._log.redis),
            archive=self._archive.store.url if self._archive is not None else "",
            events=self._events,
            held_by=self._held_by,
        )
        text = msgspec.json.encode(kept)
        await command(self._log.redis, "HSET", self._log.keys.retention(), FIELD, text)

    async def _archive_for_ever(self, archive: Archive) -> None:
        while True:
            try:
                if self._owns:
                    await Archiver(self._log, archive).run(everything=self._is_pressed)
                    await remember_archive(self._log, archive)
            except EverfoldError as error:
                self._tell(error)
            await anyio.sleep(LOOK_EVERY_S if self._is_pressed else ARCHIVE_EVERY_S)


async def kept_now(log: Log) -> Kept | None:
    """Return what the present owner keeps, None where no process keeps the log bounded.

    Raises a leaf of Unavailable.
    """
    stored = await read_hash(log.redis, log.keys.retention())
    until, now_ms = stored.get(b"until_ms", b""), await server_time_ms(log.redis)
    if not stored.get(b"owner") or not (until.isdigit() and len(until) < 16):
        return None
    if not 0 < int(until) - now_ms <= 3 * LEASE_S * 1000:
        return None
    try:
        return _read_kept(stored.get(FIELD.encode(), b"{}"))
    except NotJson:
        return Kept()


async def is_pressed(log: Log) -> bool:
    """Say whether something holds more in memory than may be. Raises as `kept_now` does."""
    kept = await kept_now(log)
    return kept is not None and bool(kept.held_by)
