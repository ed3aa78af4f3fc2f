"""Appends many events of many jobs, as `Log.append` does one: each has an answer of its own.

Rule: bounded. Slices are written while the next one is encoded, and other tasks have turns between.
Events of one job stand together in a slice, so that its head is read and written once for them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

from msgspec import Struct

from everfold.streams.appending.group_commit import PER_JOB_LIMIT, GroupCommit
from everfold.streams.appending.outcomes import Appended, OldId
from everfold.streams.errors import EverfoldError
from everfold.streams.events.event import Event
from everfold.streams.redis.scripts import NewEvent

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log

SLICE = 128
"""Events that are encoded in one turn of the event loop: some 2 ms, so that the server is not idle
because the answer that frees its next batch has no turn."""

AHEAD = 8
"""Slices that wait for their answers while the next one is encoded: four script calls."""

AppendOutcome = Appended | EverfoldError
"""Where an event is, or what `Log.append` would have raised."""


class ToAppend(Struct, frozen=True, kw_only=True):
    """The arguments of one `Log.append`."""

    job_id: str
    event: Event
    epoch: int
    holder: str = ""
    expected: int = -1


Sent = tuple[int, NewEvent, "asyncio.Future[Appended]"]
"""Which of the given ones it is, what was sent, and its answer."""


async def append_all(log: Log, events: Iterable[ToAppend]) -> list[AppendOutcome]:
    """Append many events; return the outcome of each, in the order in which they were given.

    What is refused does not stop the others, those of its own job neither. One that is Unavailable
    may have been appended: give it again with the id that it had. Raises ClientShared.
    """
    outcomes: dict[int, AppendOutcome] = {}
    waiting, given = deque[list[Sent]](), enumerate(events)
    log.redis.owner.loop()
    try:
        while piece := list(islice(given, SLICE)):
            waiting.append(await _send(log, piece, outcomes))
            await asyncio.sleep(0)
            if len(waiting) > AHEAD:
                await _wait_for(log, waiting[0], outcomes)
                waiting.popleft()
        while waiting:
            await _wait_for(log, waiting[0], outcomes)
            waiting.popleft()
    finally:
        for _, _, answer in chain.from_iterable(waiting):  # whoever was cancelled asks for none
            if not answer.cancel() and not answer.cancelled():
                answer.exception()
    return [outcomes[number] for number in range(len(outcomes))]


async def _send(
    log: Log, piece: Sequence[tuple[int, ToAppend]], outcomes: dict[int, AppendOutcome]
) -> list[Sent]:
    """Encode events and put them among those that are written next."""
    by_job: dict[str, list[tuple[int, NewEvent]]] = {}
    commits: dict[str, GroupCommit] = {}
    for number, one in piece:
        try:
            event = one.event if log.sealing is None else await log.sealed(one.job_id, one.event)
            new = log.new_event(
                one.job_id, event, epoch=one.epoch, holder=one.holder, expected=one.expected
            )
            if new.job_id not in by_job:
                commits[new.job_id] = log.group_commit(new.job_id)  # refuses what is no id
                by_job[new.job_id] = []
            by_job[new.job_id].append((number, new))
        except EverfoldError as error:
            outcomes[number] = error
    return [
        (number, new, commits[new.job_id].append_soon(new))
        for number, new in _in_rounds(by_job.values())
    ]


def _in_rounds(
    by_job: Iterable[list[tuple[int, NewEvent]]],
) -> Iterator[tuple[int, NewEvent]]:
    """Yield as many events of each job as one script call takes, and then the further ones."""
    rest = list(by_job)
    while rest:
        for events in rest:
            yield from events[:PER_JOB_LIMIT]
        rest = [events[PER_JOB_LIMIT:] for events in rest if len(events) > PER_JOB_LIMIT]


async def _wait_for(log: Log, sent: Sequence[Sent], outcomes: dict[int, AppendOutcome]) -> None:
    for number, new, answer in sent:
        try:
            outcomes[number] = await _answer(log, new, answer)
        except EverfoldError as error:
            outcomes[number] = error


async def _answer(log: Log, new: NewEvent, answer: asyncio.Future[Appended]) -> Appended:
    try:
        return await answer
    except OldId:
        return await log.commit(new)
