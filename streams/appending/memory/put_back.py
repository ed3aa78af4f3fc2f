"""Looks whether the server still has what it acknowledged, and puts back what is gone.

Rule: everything goes back as it was sent, with the same ids and in its order, under the lease that
it had or, while nobody has one, without. What fits no more is left to whoever takes the job over.
So several processes may put back the same, again and again, and nothing is in the log twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from msgspec.structs import replace

from everfold.streams.appending.job_page import job_page
from everfold.streams.appending.memory.fitting import Story
from everfold.streams.appending.memory.lost_writes import (
    LastSeen,
    LostList,
    answers,
    record_lost_writes,
)
from everfold.streams.appending.memory.memory import Memory
from everfold.streams.appending.memory.remembered import NEVER_TOLD_AGAIN, Remembered
from everfold.streams.appending.submitting import submit_again
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import (
    OUTAGES,
    BrokenChain,
    EverfoldError,
    Fenced,
    JobLeased,
    QueueFull,
    ServerRefusesAccess,
    WrongExpectedSequence,
)
from everfold.streams.events.codec import decode
from everfold.streams.events.event import closing_status
from everfold.streams.events.record import Recorded, entry_order
from everfold.streams.redis import scripts
from everfold.streams.redis.retry import with_retry
from everfold.streams.telemetry.measures import counter

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log

logger = get_logger("everfold.memory")

LOOK_PAGE = 500
"""Entries that are looked for in one script call."""

JOBS_AT_ONCE = 16

UNLEASED = -1
"""Epoch of an append that is valid only while no runner has a lease of the job."""

PUT_BACK = counter("everfold_writes_put_back", "Acknowledged writes that were lost and repeated.")


class PutBack:
    """Puts back into one namespace what one process remembers of it."""

    def __init__(self, log: Log, memory: Memory) -> None:
        self._log, self._memory = log, memory
        self.listed = LostList(log)
        self._turn = asyncio.Semaphore(JOBS_AT_ONCE)
        self._under_way = WeakValueDictionary[str, asyncio.Lock]()

    async def look(self, seen: Mapping[int, Sequence[Remembered]]) -> None:
        """Look for everything that is remembered of some partitions; put back what is gone.

        Raises a leaf of Unavailable, and what `Log.check_level` raises: then some of it may be
        back, and it may be called again.
        """
        lost = dict[str, Remembered]()
        for group in self._groups(seen):
            lost |= await self._lost([(p, one) for p in group for one in seen[p]])
        if not lost:
            return
        await answers(self._log, self._log.check_level())  # the namespace itself may be gone
        for one in self._newest_of_each(lost.values()):
            await self._pass_by(one.job_id, one.entry_id)
        each = (self._one(job_id, one.seq) for job_id, one in lost.items())
        for outcome in await asyncio.gather(*each, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome  # only now: no other is left running

    def _groups(self, partitions: Iterable[int]) -> list[list[int]]:
        """Return the partitions in groups that one call can name: all where there is one server."""
        redis, every = self._log.redis, list(partitions)
        return [every] if redis.is_one_server else [[one] for one in every]

    def _newest_of_each(self, lost: Iterable[Remembered]) -> Iterable[Remembered]:
        """Return the newest entry of each partition."""
        in_order = sorted(lost, key=lambda one: entry_order(one.entry_id))
        return {self._log.keys.partition_of(one.job_id): one for one in in_order}.values()

    async def _pass_by(self, job_id: str, entry_id: str) -> None:
        """Let what comes have entry ids above one that was lost: readers may have seen that."""
        log = self._log.keys.log(self._log.keys.partition_of(job_id))
        with suppress(ServerRefusesAccess):  # rights from before there was this script
            await scripts.raise_last_entry(self._log.redis, log=log, entry_id=entry_id)

    async def _lost(self, seen: Sequence[tuple[int, Remembered]]) -> dict[str, Remembered]:
        """Return job -> its newest event that is gone."""
        keys, lost = self._log.keys, dict[str, Remembered]()
        for start in range(0, len(seen), LOOK_PAGE):
            page = seen[start : start + LOOK_PAGE]
            at = {p: number for number, p in enumerate(dict.fromkeys(p for p, _ in page))}
            entries = [
                (at[p], one.entry_id, one.job_id, one.found_by, one.author) for p, one in page
            ]
            found = await scripts.find_entries(
                self._log.redis,
                logs=[keys.log(p) for p in at],
                trimmed=[keys.trimmed(p) for p in at],
                entries=entries,
            )
            pairs = zip(page, found, strict=True)
            for one in (one for (_, one), is_there in pairs if not is_there):
                lost[one.job_id] = max(one, lost.get(one.job_id, one), key=lambda each: each.seq)
        return lost

    async def _one(self, job_id: str, seq: int) -> None:
        async with self._turn:
            if not self._memory.in_hand(job_id, seq):
                await self.put_back(job_id)

    async def put_back(self, job_id: str, seen: LastSeen | None = None) -> None:
        """Name what is lost of one job, and put back what this process knows of it.

        `seen` is the newest event that whoever works on the job has seen, however long ago. Raises
        a leaf of Unavailable; it may be called again.
        """
        under_way = self._under_way.setdefault(job_id, asyncio.Lock())
        async with under_way:
            try:
                await self._put_back(job_id, seen)
            except BrokenChain:
                self._memory.forget([one.event_id for one in self._memory.of_job(job_id)])

    async def _put_back(self, job_id: str, last: LastSeen | None) -> None:
        known = self._memory.of_job(job_id)
        found = await self._history(job_id)
        history = found or []
        lost = _missing(known, history)
        self._note_moved(known, history)
        seen = _newest_lost(lost, last, history)
        if seen is None:
            return
        first_seq = min([seen.seq, *(one.seq for one in lost)])
        found_seq = min(history[-1].seq if history else 0, first_seq - 1)
        if found is None:
            if not await self._submit_again(job_id, known):
                await record_lost_writes(self._log, self.listed, seen, 0)
                return
            history = await self._history(job_id) or []
        await self._pass_by(job_id, seen.entry_id)
        logger.warning("job_lost_writes job=%s seen=%s found=%s", job_id, seen.seq, found_seq)
        await record_lost_writes(self._log, self.listed, seen, found_seq, history)
        await self._tell(job_id, _missing(known, history))

    async def _submit_again(self, job_id: str, known: Sequence[Remembered]) -> bool:
        """Make a job known again; False where nobody here can, or the server refuses it."""
        new = next((one for one in known if one.submit is not None), None)
        if new is None or new.submit is None:
            logger.error("job_lost_by_server job=%s seen=%s", job_id, known[-1].seq)
            return False
        try:
            await submit_again(self._log, new.submit, new.payload)
        except QueueFull as full:  # it is tried again, and named meanwhile
            logger.error("job_not_submitted_again job=%s why=%r", job_id, str(full))
            return False
        PUT_BACK.add()
        return True

    async def _tell(self, job_id: str, lost: Sequence[Remembered]) -> None:
        """Tell lost events again, in their order, as far as they still say something."""
        history = await self._history(job_id) or []
        for one in lost:
            history = await self._tell_one(one, history)
        # The rest may fit later: what it follows may be known to another process.
        is_over = any(_closes(record) for record in history)
        rest = _missing(lost, history)
        useless = (one.event_id for one in rest if is_over or one.kind in NEVER_TOLD_AGAIN)
        self._memory.forget(useless)

    def _note_moved(self, known: Sequence[Remembered], history: Sequence[Recorded]) -> None:
        """Note where events stand now that another process has put back."""
        at = {getattr(record.event, "id", ""): record for record in history}
        for one in known:
            record = at.get(one.event_id)
            if record is not None and record.entry_id != one.entry_id:
                moved = replace(one, seq=record.seq, entry_id=record.entry_id, at_s=steady_s())
                self._memory.note(moved)

    async def _tell_one(self, one: Remembered, history: list[Recorded]) -> list[Recorded]:
        """Tell one event if it fits behind a history; return the history after that."""
        event, with_intents = decode(one.payload), self._memory.records_intents
        while history:
            story = Story.of(record.event for record in history)
            if not story.takes(event, with_intents=with_intents):
                return history
            try:
                told = await self._append(one, history[-1])
            except WrongExpectedSequence:
                history = await self._history(one.job_id) or []
                continue
            if not told:
                return history
            PUT_BACK.add()
            return await self._history(one.job_id) or []
        return history

    async def _append(self, one: Remembered, last: Recorded) -> bool:
        """Write one event behind the last one; False where the log refuses it.

        Raises WrongExpectedSequence, or a leaf of Unavailable.
        """
        try:
            if one.release is not None:
                await one.release()
                return True
            if one.append is None:
                return False
            new = replace(one.append, expected=last.seq)
            try:
                await self._log.commit(new)
            except (Fenced, JobLeased):
                if new.epoch <= 0:
                    return False
                await self._log.commit(replace(new, epoch=UNLEASED, holder=""))
        except WrongExpectedSequence:
            raise
        except OUTAGES:
            raise
        except EverfoldError:
            return False
        return True

    async def _history(self, job_id: str) -> list[Recorded] | None:
        """Return a job's events, in order; None where the log does not know it.

        Raises BrokenChain where some of them are missing in between: that is no loss of a server.
        """
        log, newest_first, at = self._log, list[Recorded](), ""
        while True:
            read = partial(job_page, log.redis, log.keys, job_id, at, 0)
            page = await with_retry(read, log.retry_for_s)
            if page.outcome == b"unknown":
                return None
            newest_first += page.events
            if page.outcome != b"page":
                raise BrokenChain(job_id, 1, newest_first[-1].seq if newest_first else 0)
            if not (at := page.following):
                return newest_first[::-1]


def _missing(known: Sequence[Remembered], history: Sequence[Recorded]) -> list[Remembered]:
    """Return what is remembered and not in the history, by sequence number."""
    entries = {record.entry_id: getattr(record.event, "id", "") for record in history}
    ids = set(entries.values())
    return [
        one
        for one in known
        if one.event_id not in ids and (one.found_by or one.entry_id not in entries)
    ]


def _newest_lost(
    lost: Sequence[Remembered], last: LastSeen | None, history: Sequence[Recorded]
) -> LastSeen | None:
    """Return the newest event that was lost, None for none."""
    found = [LastSeen(one.job_id, one.seq, one.entry_id) for one in lost]
    if last is not None and all(record.entry_id != last.entry_id for record in history):
        found.append(last)
    return max(found, key=lambda one: one.seq, default=None)


def _closes(record: Recorded) -> bool:
    return bool(closing_status(record.event))  # type: ignore[arg-type]  # a miss is the answer
