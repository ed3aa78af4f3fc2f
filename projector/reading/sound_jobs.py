"""Finds the jobs whose head, state, index and place are as the log says: of many in a few trips.

Rule: it only says that a job is sound. One that is not, or that may have changed meanwhile, is
looked at again by itself, by verify.py: nothing is reported from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from typing import cast

from msgspec import Struct

from everfold.projector.folding.stored_jobs import StoredState, read_stored_states
from everfold.projector.job.agreement import Head, head_differences, text
from everfold.projector.job.fold import fold
from everfold.projector.job.index_names import entry_of, members_of
from everfold.projector.job.job import Job
from everfold.projector.job.overdue import overdue
from everfold.projector.job.state import from_fields
from everfold.projector.reading.index_check import ENTRY_BYTES, complete_indexes, known_entry
from everfold.projector.reading.walk import Walk
from everfold.streams.appending.log import Log
from everfold.streams.connections.connection import Argument
from everfold.streams.events.stored_fields import is_entry_id
from everfold.streams.redis import scripts
from everfold.streams.redis.redis_errors import commands

HEAD_BYTES = 8 * 1024
"""What the head of a job is taken for: more than most have, so that answers do not pile up."""


class _Look(Struct, frozen=True):
    """What was read of a job, and what the log makes of it."""

    walk: Walk
    job: Job
    head: Head
    stored: StoredState
    entry: str
    """Of the index, as far as that is complete; empty for none."""


async def not_sound(log: Log, partition: int, walks: Sequence[Walk], margin_s: float) -> list[Walk]:
    """Return those jobs of a partition of which this look does not say that all is as it must be.

    Raises what reading raises where any of the keys is not what it must be, or Unavailable.
    """
    known = [walk for walk in walks if walk.history]
    if not known:
        return list(walks)
    indexes = await complete_indexes(log, partition)
    looks = [
        look for look in await _looks(log, partition, known, indexes) if _agrees(look, indexes)
    ]
    asked = [_asked(log, partition, look, indexes) for look in looks]
    replies = await commands(log.redis, chain.from_iterable(asked))
    ends = accumulate(map(len, asked), initial=0)
    answers = [replies[begin:end] for begin, end in pairwise(ends)]
    clock = await scripts.look_at_clock(log.redis, clock=log.keys.clock(partition))
    now_ms, _, _, unsure_to_ms, _ = clock
    sound = {
        look.walk.trace.job_id
        for look, answer in zip(looks, answers, strict=True)
        if _is_in_place(look, answer)
        and not overdue(look.job, now_ms, margin_s=margin_s, unsure_to_ms=unsure_to_ms)
    }
    return [walk for walk in walks if walk.trace.job_id not in sound]


async def _looks(
    log: Log, partition: int, walks: Sequence[Walk], indexes: Sequence[str]
) -> list[_Look]:
    ids = [walk.trace.job_id for walk in walks]
    indexed = log.keys.jobs(partition).indexed()
    asked: list[Sequence[Argument]] = [("HGETALL", log.keys.head(job_id)) for job_id in ids]
    asked += [("HGET", indexed, job_id) for job_id in ids]
    sizes = [HEAD_BYTES] * len(ids) + [ENTRY_BYTES] * len(ids)
    replies = await commands(log.redis, asked, sizes)
    heads = [_fields(reply) for reply in replies[: len(ids)]]
    entries = [known_entry(reply, indexes[1:]) for reply in replies[len(ids) :]]
    stored = await read_stored_states(log, ids)
    jobs = [fold(walk.history) for walk in walks]
    return [_Look(*of) for of in zip(walks, jobs, heads, stored, entries, strict=True)]


def _agrees(look: _Look, indexes: Sequence[str]) -> bool:
    """Say whether head, state and the entry of a complete index are what the log makes of them."""
    events, job = look.walk.history, look.job
    if job.seq != events[-1].seq or (job.owner and not job.is_terminal):
        return False  # an event cannot be read, or its lease is to be looked at, too
    if head_differences(look.walk.trace, look.head, events, job):
        return False
    state = from_fields(look.stored)
    if state is None:
        return not look.stored
    then = job if state.seq == job.seq else fold(e for e in events if e.seq <= state.seq)
    if state != then:
        return False
    return not indexes or look.entry == entry_of(state, indexes[1:])


def _asked(
    log: Log, partition: int, look: _Look, indexes: Sequence[str]
) -> list[Sequence[Argument]]:
    """Return what to ask: the places of a waiting job, its entry in dispatch where its head names
    one, and its members of a complete index."""
    keys, job_id, queue = log.keys, look.walk.trace.job_id, text(look.head, b"queue")
    line = keys.line(partition, queue, text(look.head, b"line"))
    places = (keys.later(partition), keys.waiting(partition, queue), line)
    asked: list[Sequence[Argument]] = [("ZSCORE", place, job_id) for place in places]
    if entry_id := _dispatched(look.head):
        dispatch = keys.dispatch(partition, queue, text(look.head, b"priority"))
        asked.append(("XRANGE", dispatch, entry_id, entry_id))
    if indexes and look.stored:
        index = keys.jobs(partition).index()
        asked += [("ZSCORE", index, member) for member in members_of(job_id, look.entry)]
    return asked


def _is_in_place(look: _Look, answers: Sequence[object]) -> bool:
    """Say whether an open job stands at one place, and one that has ended at none; and whether the
    index has all its members."""
    later, waiting, line, *others = answers
    dispatched = others.pop(0) if _dispatched(look.head) else []
    count = (later is not None) + (waiting is not None) + bool(dispatched)
    is_in_line = waiting is None or waiting == line
    return is_in_line and None not in others and count == (look.head[b"status"] == b"open")


def _dispatched(head: Head) -> str:
    entry_id = text(head, b"dispatch")
    return entry_id if is_entry_id(entry_id.encode()) else ""


def _fields(reply: object) -> Head:
    flat = cast("list[bytes]", reply)
    return dict(zip(flat[::2], flat[1::2], strict=True))
