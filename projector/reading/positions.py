"""Finds which jobs a list shows next: by the index of their names, or by time alone.

Rule: what is found may be more than what the filter selects, and is never less. Where an index is
not complete, every job of the partition is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from everfold.projector.job.index_names import INDEX_VERSION
from everfold.projector.job.job import Job
from everfold.projector.job.job_filter import JobFilter
from everfold.streams.appending.log import Log
from everfold.streams.connections.connection import Argument
from everfold.streams.errors import InvalidName, WrongKeyType
from everfold.streams.events.limits import LAST_DATE_MS
from everfold.streams.redis.each import GRACE_S, each
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.script import Script

LOOKS = 2_000
"""Jobs that one look into an index of one partition looks at, about."""

BELOW_ALL = "!"
"""In a cursor: below all jobs of its time. It is no job's id."""

_select_open = Script("everfold.projector", "select_open", is_read_only=True)
_select_ended = Script("everfold.projector", "select_ended", is_read_only=True)


class Position(Struct, frozen=True, order=True):
    """A job's position in lists, which show the highest first."""

    time_ms: int
    job_id: str


class Found(Struct, frozen=True):
    """The next positions of a list."""

    positions: Sequence[Position]
    stops: Sequence[Position] = ()
    """Behind each of them may be more; behind none of them when this is empty."""

    def cut(self, limit: int) -> Found:
        """Return the first `limit` positions, in order, of those that are sure to be complete."""
        found = sorted(set(self.positions), reverse=True)
        stop = max(self.stops, default=None)
        sure = [one for one in found if stop is None or one >= stop]
        if len(sure) > limit:
            sure = sure[:limit]
            stop = sure[-1]
        return Found(sure, [] if stop is None else [stop])


class Positions:
    """The positions of the jobs that a filter may select, in all partitions together."""

    def __init__(
        self,
        log: Log,
        selects: JobFilter,
        newer: Mapping[str, Job],
        unread: set[str],
        missing: set[int] | None = None,
    ) -> None:
        """Positions of `newer` are those of these jobs; bad keys are added to `unread`, partitions
        that do not answer to `missing`: without that set they raise Unavailable."""
        self._log, self._selects, self._newer, self._unread = log, selects, newer, unread
        self._names = selects.names()
        self.unindexed = False
        """Whether all jobs of a partition were looked at, for want of an index."""
        self._missing = missing

    async def after(self, before: Position | None, limit: int) -> Found:
        """Return the next positions, lower than `before`: `limit` of them, or fewer."""
        share = share_of(limit, self._log.keys.partitions)

        async def look(partition: int) -> Found:
            # As many more as may be listed elsewhere, by `newer`.
            return await self._of_partition(partition, before, share + len(self._newer))

        every = set(range(self._log.keys.partitions))
        asked = every - (self._missing or set())  # those were silent at an earlier look
        grace_s = None if self._missing is None else GRACE_S
        outcomes = await each(self._log, look, sorted(asked), grace_s=grace_s)
        found = outcomes.some(self._missing)
        # A job that ends between two reads is in both indexes: the later position counts.
        by_job: dict[str, Position] = {}
        for position in sorted(one for part in found for one in part.positions):
            by_job[position.job_id] = position
        for job_id, job in self._newer.items():
            by_job.pop(job_id, None)
            position = Position(job.updated_at_ms, job_id)
            if self._is_within(position.time_ms):
                by_job[job_id] = position
        lower = [one for one in by_job.values() if before is None or one < before]
        return Found(lower, [stop for part in found for stop in part.stops]).cut(limit)

    def _is_within(self, time_ms: int) -> bool:
        newest, oldest = self._selects.older_than_ms, self._selects.newer_than_ms
        return (oldest or 0) <= time_ms <= (time_ms if newest is None else newest)

    async def _of_partition(self, partition: int, before: Position | None, limit: int) -> Found:
        if self._names:
            found = await self._by_names(partition, before, limit)
            if found is not None:
                return found
        found = await self._by_time(partition, before, limit)
        if self._names and found.positions:
            self.unindexed = True
        return found

    async def _by_names(self, partition: int, before: Position | None, limit: int) -> Found | None:
        """Return the positions by the index; None where that is not complete."""
        metadata = sorted(self._selects.metadata)
        found = await self._selected(partition, before, limit, metadata, self._names)
        if found is None and metadata and (names := replace(self._selects, metadata={}).names()):
            return await self._selected(partition, before, limit, [], names)
        return found

    async def _selected(
        self,
        partition: int,
        before: Position | None,
        limit: int,
        metadata: Sequence[str],
        names: Sequence[Sequence[str]],
    ) -> Found | None:
        wanted = msgspec.msgpack.encode(((INDEX_VERSION, *metadata), names))
        oldest, newest, lesser = self._bounds(before)
        jobs, found = self._log.keys.jobs(partition), list[Found]()
        if self._selects.may_be_open:
            keys = [jobs.projector(), jobs.active(), jobs.index()]
            bounds = (newest, int(bool(lesser)), oldest, limit, LOOKS)
            reply = await self._run(_select_open, keys, (wanted, *bounds))
            if reply is None:
                return None
            stops = [Position(int(reply[0]), "")] if reply[0] else []
            found.append(Found(_pairs(reply[1:]), stops))
        if self._selects.may_have_ended:
            keys = [jobs.projector(), jobs.index()]
            reply = await self._run(
                _select_ended, keys, (wanted, newest, lesser, oldest, limit, LOOKS)
            )
            if reply is None:
                return None
            end = 1 + 2 * int(reply[0])
            found.append(Found(_pairs(reply[end:]), _pairs(reply[1:end])))
        positions = [one for part in found for one in part.positions]
        return Found(positions, [stop for part in found for stop in part.stops])

    async def _run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]
    ) -> Sequence[bytes] | None:
        """Return the reply without its name; None where the index is not complete or unusable."""
        try:
            run = partial(script.run, self._log.redis, keys, arguments)
            name, *values = cast("list[bytes]", await with_retry(run, self._log.retry_for_s))
        except WrongKeyType:
            self._unread.update(keys)
            return None
        return None if name == b"incomplete" else values

    def _bounds(self, before: Position | None) -> tuple[int, int, str]:
        """Return the oldest and the newest time, and below which id a job of the newest is."""
        newest, oldest = self._selects.older_than_ms, self._selects.newer_than_ms
        newest = LAST_DATE_MS if newest is None else newest
        if before is None or before.time_ms > newest:
            return oldest or 0, newest, ""
        if not before.job_id:
            return oldest or 0, before.time_ms - 1, ""
        return oldest or 0, before.time_ms, before.job_id

    async def _by_time(self, partition: int, before: Position | None, limit: int) -> Found:
        """Return the next positions of a partition, whatever its jobs are."""
        oldest, newest, _ = self._bounds(before)
        found: list[Found] = []
        for index in (self._log.keys.active(partition), self._log.keys.ended(partition)):
            try:
                found.append(await self._in_index(index, oldest, newest, before, limit))
            except WrongKeyType:
                self._unread.add(index)
        positions = [one for part in found for one in part.positions]
        return Found(positions, [stop for part in found for stop in part.stops])

    async def _in_index(
        self, index: str, oldest: int, newest: int, before: Position | None, limit: int
    ) -> Found:
        """Return the next positions of one index, `limit` or some more, unless there are fewer.

        Scores are equal within a millisecond, so what lies before `before` is filtered out here.
        """
        found: list[Position] = []
        offset = 0
        while True:
            page = ("WITHSCORES", "LIMIT", offset, limit)
            ask = ("ZREVRANGEBYSCORE", index, newest, oldest, *page)
            read = partial(command, self._log.redis, *ask)
            flat = cast("list[bytes]", await with_retry(read, self._log.retry_for_s))
            positions = [_position(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
            known = [one for one in positions if one is not None]
            found += [one for one in known if before is None or one < before]
            offset += limit
            if len(flat) < 2 * limit:
                return Found(found)
            if len(found) >= limit:
                return Found(found, found[-1:])


def share_of(limit: int, partitions: int) -> int:
    """Return how many positions to ask of each partition for so many of all: about twice its part,
    so that one that has more of them than others seldom leaves the page short."""
    return min(limit, 2 * -(-limit // partitions) + 8)


def _position(name: bytes, score: bytes) -> Position | None:
    """Return a position, None for a member that Everfold never writes."""
    try:
        return Position(int(float(score)), name.decode())
    except (ValueError, OverflowError):
        return None


def _pairs(flat: Sequence[bytes]) -> list[Position]:
    """Return the positions of times and ids in turn."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [one for ms, job in pairs if (one := _position(job, ms)) is not None]


def read_cursor(cursor: object) -> Position | None:
    """Return the position of a cursor, None for none. Raises InvalidName."""
    if cursor is None or (isinstance(cursor, str) and not cursor):
        return None
    found = re.fullmatch(r"([0-9]{1,16}):(.+)", cursor) if isinstance(cursor, str) else None
    if found is None:
        raise InvalidName("cursor", cursor, "give back the one that came with the last page")
    return Position(int(found[1]), "" if found[2] == BELOW_ALL else found[2])


def cursor_at(position: Position) -> str:
    """Return the cursor of a position, which `read_cursor` reads."""
    return f"{position.time_ms}:{position.job_id or BELOW_ALL}"
