"""Writes encoded events as group commit has gathered them, on one server of several partitions.

Rule: an event that is to be on replicas has no other outcome than TooFewReplicas before it is. What
is wrong with one partition is no other one's outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from everfold.streams.appending.group_commit import Outcome
from everfold.streams.appending.outcomes import Appended, append_outcome
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError, Unavailable
from everfold.streams.redis import scripts
from everfold.streams.redis.replicas import NONE
from everfold.streams.redis.scripts import NewEvent

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log

WORKFLOW_TTL_S = 7 * 24 * 3600
"""Seconds that a graph is kept after its last open job: long enough to look into a failure."""


def group_of(log: Log, partition: int) -> int:
    """Return with which others the appends of a partition are gathered: with all, where one server
    has all partitions."""
    return 0 if log.redis.is_one_server else 1 + partition


async def write_events(log: Log, events: Sequence[NewEvent]) -> Sequence[Outcome]:
    """Return the outcome of each event. Raises a leaf of Unavailable: any may be written then."""
    try:
        return await _write(log, events)
    except Unavailable:
        raise
    except EverfoldError:
        partition_of = log.keys.partition_of
        partitions = {partition_of(event.job_id) for event in events}
        if len(partitions) == 1:
            raise
    found = dict[NewEvent, Outcome]()
    for partition in partitions:
        own = [event for event in events if partition_of(event.job_id) == partition]
        found |= zip(own, await _outcomes(log, own), strict=True)
    return [found[event] for event in events]


async def _outcomes(log: Log, events: Sequence[NewEvent]) -> Sequence[Outcome]:
    """Return the outcome of each event of one partition. Raises a leaf of Unavailable."""
    try:
        return await _write(log, events)
    except Unavailable:
        raise
    except EverfoldError as error:
        return [error] * len(events)


async def _write(log: Log, events: Sequence[NewEvent]) -> Sequence[Outcome]:
    keys, first = log.keys, log.keys.partition_of(events[0].job_id)
    asked, living = log.replicas, log.redis.replicas_of(keys.log(first))
    now_s = steady_s()
    needed = [
        asked.needed(event.effect, event.is_intent, living, now_s - event.made_s)
        for event in events
    ]
    replies, too_few = await scripts.append(
        log.redis,
        log=keys.log(first),
        later=keys.later(first),
        workflows=keys.workflows(first),
        tag=keys.tag(first),
        workflow_ttl_ms=WORKFLOW_TTL_S * 1000,
        heads=[keys.head(event.job_id) for event in events],
        events=events,
        replicas=replace(asked, count=max(needed)) if any(needed) else NONE,
    )
    outcomes = list[Outcome]()
    for reply, event, count in zip(replies, events, needed, strict=True):
        outcome = append_outcome(reply, event.job_id, event.epoch, event.expected)
        is_short = count > 0 and isinstance(outcome, Appended)
        outcomes.append(too_few if too_few is not None and is_short else outcome)
    log.memory.note_appends(zip(events, outcomes, strict=True))
    return outcomes
