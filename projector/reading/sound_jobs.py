"""Finds the jobs whose head, state, index and place are as the log says: of many in a few trips.

Rule: it only says that a job is sound. One that is not, or that may have changed meanwhile, is
looked at again by itself, by verify.py: nothing is reported from here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import cast

from msgspec import Struct

from everfold.projector.folding.stored_jobs import StoredState, read_stored_states
from everfold.projector.job.agreement import Head, head_differences, text
from everfold.projector.job.fold import fold
from everfold.projector.job.index_names import entry_of, members_of
from everfold.projector.job.job import Job
from everfold.projector.job.overdue import overdue
from everfold.projector.job.state import from_fields
from everfold.projector.reading.index_check import complete_indexes, known_entry, read_entries
from everfold.projector.reading.walk import Walk
from everfold.streams.appending.log import Log
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import Argument
from everfold.streams.errors import ServerRefusesAccess
from everfold.streams.events.stored_fields import is_entry_id
from everfold.streams.redis import scripts
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.redis_errors import commands

FIELDS = ("seq", "epoch", "last", "status", "queue", "priority", "line", "dispatch")
"""Of a head that are compared: the others may be long."""

MEMBERS = 500
"""Members of one set that are asked for in one command."""

_Place = tuple[str, bytes]
"""A sorted set, and a member of it."""


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
    times, partition_of = Counter(walk.trace.job_id for walk in walks), log.keys.partition_of
    known = [
        walk
        for walk in walks
        # Not one that ended twice, nor one whose events stand in another partition's log.
        if walk.history
        and times[walk.trace.job_id] == 1
        and partition_of(walk.trace.job_id) == partition
    ]
    if not known:
        return list(walks)
    indexes = await complete_indexes(log, partition)
    looks = [
        look for look in await _looks(log, partition, known, indexes) if _agrees(look, indexes)
    ]
    places = [_places(log, partition, look, indexes) for look in looks]
    scores = await _scores(log.redis, chain.from_iterable(places))
    dispatched = await _dispatched(log, partition, looks)
    clock = await scripts.look_at_clock(log.redis, clock=log.keys.clock(partition))
    now_ms, _, _, unsure_to_ms, _ = clock
    sound = {
        look.walk.trace.job_id
        for look, places_of in zip(looks, places, strict=True)
        if _is_in_place(look, [scores[place] for place in places_of], dispatched)
        and not overdue(look.job, now_ms, margin_s=margin_s, unsure_to_ms=unsure_to_ms)
    }
    return [walk for walk in walks if walk.trace.job_id not in sound]


def waiting_places(keys: Keyspace, partition: int, head: Head) -> tuple[str, str, str]:
    """Return the sets in which a job that no runner has may stand: later, waiting, its line."""
    queue = text(head, b"queue")
    line = keys.line(partition, queue, text(head, b"line"))
    return keys.later(partition), keys.waiting(partition, queue), line


def dispatch_entry(keys: Keyspace, partition: int, head: Head) -> tuple[str, str] | None:
    """Return the stream and the entry of dispatch that a head names, None for none."""
    entry_id = text(head, b"dispatch")
    if not is_entry_id(entry_id.encode()):
        return None
    return keys.dispatch(partition, text(head, b"queue"), text(head, b"priority")), entry_id


async def _looks(
    log: Log, partition: int, walks: Sequence[Walk], indexes: Sequence[str]
) -> list[_Look]:
    ids = [walk.trace.job_id for walk in walks]
    replies = await commands(log.redis, [("HMGET", log.keys.head(one), *FIELDS) for one in ids])
    heads = [_head(reply) for reply in replies]
    of_index = await read_entries(log, log.keys.jobs(partition), ids)
    entries = [known_entry(entry, indexes[1:]) for entry in of_index]
    stored = await read_stored_states(log, ids)
    jobs = [fold(walk.history) for walk in walks]
    return [_Look(*of) for of in zip(walks, jobs, heads, stored, entries, strict=True)]


def _agrees(look: _Look, indexes: Sequence[str]) -> bool:
    """Say whether head, state and the entry of a complete index are what the log makes of them."""
    events, job = look.walk.history, look.job
    if job.seq != events[-1].seq or (job.owner and not job.is_terminal):
        return False  # an event cannot be read, or its lease is to be looked at, too
    trace, last = look.walk.trace, text(look.head, b"last")
    if last != trace.entry_id or head_differences(trace, look.head, events, job):
        return False
    state = from_fields(look.stored)
    if state is None:
        return not look.stored
    then = job if state.seq == job.seq else fold(one for one in events if one.seq <= state.seq)
    if state != then:
        return False
    return not indexes or look.entry == entry_of(state, indexes[1:])


def _places(log: Log, partition: int, look: _Look, indexes: Sequence[str]) -> list[_Place]:
    """Return where a waiting job may stand, and a job's members of a complete index."""
    job_id, places = look.walk.trace.job_id, waiting_places(log.keys, partition, look.head)
    found: list[_Place] = [(place, job_id.encode()) for place in places]
    if indexes and look.stored:
        index = log.keys.jobs(partition).index()
        found += [(index, member) for member in members_of(job_id, look.entry)]
    return found


async def _scores(redis: LedgerRedis, places: Iterable[_Place]) -> dict[_Place, object]:
    """Return the score of each member in its set, None where it is not there."""
    members = dict[str, list[bytes]]()
    for key, member in places:
        members.setdefault(key, []).append(member)
    asked = [
        (key, every[at : at + MEMBERS])
        for key, every in members.items()
        for at in range(0, len(every), MEMBERS)
    ]
    try:
        replies = await commands(redis, [("ZMSCORE", key, *of) for key, of in asked])
    except ServerRefusesAccess:  # the rights of an earlier version do not have it
        pairs = [(key, member) for key, of in asked for member in of]
        single = await commands(redis, [("ZSCORE", *pair) for pair in pairs])
        return dict(zip(pairs, single, strict=True))
    found = zip(asked, cast("list[list[object]]", replies), strict=True)
    return {
        (key, member): score
        for (key, of), scores in found
        for member, score in zip(of, scores, strict=True)
    }


async def _dispatched(log: Log, partition: int, looks: Sequence[_Look]) -> set[str]:
    """Return the jobs that have the entry in dispatch that their head names."""
    named, asked = list[str](), list[Sequence[Argument]]()
    for look in looks:
        if (at := dispatch_entry(log.keys, partition, look.head)) is not None:
            key, entry_id = at
            named.append(look.walk.trace.job_id)
            asked.append(("XRANGE", key, entry_id, entry_id))
    replies = await commands(log.redis, asked)
    return {job_id for job_id, rows in zip(named, replies, strict=True) if rows}


def _is_in_place(look: _Look, scores: Sequence[object], dispatched: Collection[str]) -> bool:
    """Say whether an open job stands at one place, and one that has ended at none; and whether the
    index has all its members."""
    later, waiting, line, *members = scores
    is_dispatched = look.walk.trace.job_id in dispatched
    count = (later is not None) + (waiting is not None) + is_dispatched
    is_in_line = waiting is None or waiting == line
    return is_in_line and None not in members and count == (text(look.head, b"status") == "open")


def _head(reply: object) -> Head:
    values = zip(FIELDS, cast("list[bytes | None]", reply), strict=True)
    return {field.encode(): value for field, value in values if value is not None}
