"""Writes encoded events of one partition, as group commit has gathered them.

Rule: an event that is to be on replicas has no other outcome than TooFewReplicas before it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from everfold.streams.appending.group_commit import Outcome
from everfold.streams.appending.outcomes import Appended, append_outcome
from everfold.streams.redis import scripts
from everfold.streams.redis.replicas import NONE
from everfold.streams.redis.scripts import NewEvent

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log

WORKFLOW_TTL_S = 7 * 24 * 3600
"""Seconds that a graph is kept after its last open job: long enough to look into a failure."""


async def write_events(log: Log, partition: int, events: Sequence[NewEvent]) -> Sequence[Outcome]:
    """Return the outcome of each event. Raises a leaf of Unavailable: any may be written then."""
    keys = log.keys
    asked, living = log.replicas, log.redis.replicas_of(keys.log(partition))
    needed = [asked.needed(event.effect, event.is_intent, living) for event in events]
    replies, too_few = await scripts.append(
        log.redis,
        log=keys.log(partition),
        later=keys.later(partition),
        workflows=keys.workflows(partition),
        tag=keys.tag(partition),
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
