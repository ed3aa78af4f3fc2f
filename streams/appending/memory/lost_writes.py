"""Records which jobs lost acknowledged writes with a server, in their history and in a list.

Rule: what is known to be lost is named before anything of it is put back. Where another node has
the list and is away, the history alone tells meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Struct

from everfold.streams.errors import JobClosed, JobUnknown, ServerRefusesAccess, Unavailable
from everfold.streams.events.event import Rewound
from everfold.streams.events.record import Recorded, entry_order
from everfold.streams.redis.pages import read_readable_hash
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms
from everfold.streams.redis.server_watch import NAMESPACE_WITHIN_S, UNKNOWN
from everfold.streams.telemetry.measures import counter

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log

LOST = counter("everfold_jobs_behind", "Times that this process found a job behind what it saw.")


LISTED_AT_ONCE = 500
"""Jobs that one call adds to the list."""


class LostWrites(Struct, frozen=True):
    """What the server lost of one job."""

    job_id: str
    seen_seq: int
    """Sequence number of the last event that was acknowledged."""
    found_seq: int
    """Sequence number of the last event that the log had when this was noticed; 0 for none."""
    partition: int = -1
    """-1 in what an older program has noted."""
    at_ms: int = 0
    """When it was noticed, Unix ms of the server; 0 for unknown."""
    lost_bytes: int = UNKNOWN
    """Bytes that the new server lacks of the one before, of all jobs; -1 for unknown."""


class LastSeen(Struct, frozen=True):
    """The newest event of a job that was acknowledged to somebody, and then lost."""

    job_id: str
    seq: int
    entry_id: str


class LostList:
    """Adds jobs to the namespace's list of lost writes, at the latest when its node is back."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._waiting: dict[str, LostWrites] = {}
        self._is_away = False
        """The last call was not answered: nobody but the next `write` waits for one."""

    @property
    def is_behind(self) -> bool:
        """Whether jobs wait to be written."""
        return bool(self._waiting)

    async def add(self, found: LostWrites) -> None:
        """Add a job. Raises a leaf of Unavailable where one server has everything."""
        self._waiting[found.job_id] = found
        if not self._is_away:
            await self.write()

    async def write(self) -> None:
        """Write what waits. Raises as `add` does."""
        while self._waiting:
            some = dict(islice(self._waiting.items(), LISTED_AT_ONCE))
            fields = [text for at in some for text in (at, msgspec.json.encode(some[at]))]
            key = self._log.keys.lost_writes()
            with suppress(ServerRefusesAccess):  # rights from before this was everybody's to write
                asked = command(self._log.redis, "HSET", key, *fields)
                self._is_away = not await answers(self._log, asked)
                if self._is_away:
                    return
            for job_id, found in some.items():
                if self._waiting.get(job_id) is found:
                    del self._waiting[job_id]


async def answers(log: Log, asked: Awaitable[object]) -> bool:
    """Wait for what the node with the namespace's own keys is asked; say whether it has answered.

    On a cluster the others do not wait for one that is away. Raises what `asked` raises, a leaf of
    Unavailable only where one server has everything.
    """
    if log.redis.is_one_server:
        await asked
        return True
    with suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(NAMESPACE_WITHIN_S):
            await asked
            return True
    return False


async def record_lost_writes(
    log: Log,
    listed: LostList,
    seen: LastSeen,
    found_seq: int,
    history: Sequence[Recorded] = (),
) -> None:
    """Add the job to the namespace's list and, unless its `history` says so already, append a
    `rewound` event to it. Of a job that has ended, or is unknown, only the list tells.

    Raises a leaf of Unavailable. It may be repeated.
    """
    job_id, seen_seq = seen.job_id, seen.seq
    partition = log.keys.partition_of(job_id)
    at_ms = await server_time_ms(log.redis.at(log.keys.log(partition)))
    lost_bytes = await log.servers.lost_bytes(partition)
    await listed.add(LostWrites(job_id, seen_seq, found_seq, partition, at_ms, lost_bytes))
    if any(_says(record, seen) for record in history):
        return
    LOST.add()
    event = Rewound(
        seen_seq=seen_seq,
        found_seq=found_seq,
        partition=partition,
        at_ms=at_ms,
        lost_bytes=UNSET if lost_bytes == UNKNOWN else lost_bytes,
    )
    with suppress(JobClosed, JobUnknown):
        await log.append(job_id, event, epoch=0)


def _says(record: Recorded, seen: LastSeen) -> bool:
    """Say whether an event tells of this loss: one of an earlier loss was seen before it."""
    event = record.event
    if not isinstance(event, Rewound) or event.seen_seq < seen.seq:
        return False
    return entry_order(record.entry_id) > entry_order(seen.entry_id)


async def lost_writes(log: Log) -> list[LostWrites]:
    """Return every job of which lost events were recorded. Raises a leaf of Unavailable."""
    found = await read_readable_hash(log.redis, log.keys.lost_writes(), LostWrites)
    return list(found.values())
