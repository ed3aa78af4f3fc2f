"""A job's story in words: what each event means to somebody who was not there. Pure."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Claimed,
    Event,
    Expired,
    Failed,
    Lost,
    OutputSaved,
    Progressed,
    Queued,
    Recovered,
    Released,
    Retried,
    Rewound,
    Started,
    Stopping,
    Submitted,
    Submitting,
    Succeeded,
)
from everfold.streams.events.record import Recorded


class Step(Struct, frozen=True):
    """One event as a line of the story."""

    time_ms: int
    seq: int
    epoch: int
    who: str
    what: str
    gap_ms: int
    """Since the step before."""
    mark: str
    """Empty; `runner` where another runner goes on, `recovery` where one had died."""
    job: Job
    """As it was right after the event."""


def story(records: list[Recorded]) -> list[Step]:
    """Return the steps of a job, one per event, in order."""
    job, owner, before_ms = Job(), "", records[0].time_ms if records else 0
    steps: list[Step] = []
    for record in records:
        event = record.event
        job = evolve(job, record)
        if isinstance(event, Unreadable):
            who, what, mark = "", f"an event that cannot be read: {event.why}", ""
        else:
            who, what, mark = event.actor, words(event), _mark(event, owner)
            owner = event.owner if isinstance(event, Claimed | Recovered) else owner
        gap_ms = record.time_ms - before_ms
        before_ms = record.time_ms
        steps.append(Step(record.time_ms, record.seq, record.epoch, who, what, gap_ms, mark, job))
    return steps


def _mark(event: Event, owner: str) -> str:
    if isinstance(event, Recovered):
        return "recovery"
    return "runner" if isinstance(event, Claimed) and owner not in ("", event.owner) else ""


def words(event: Event) -> str:
    """Say in a sentence what an event tells."""
    match event:
        case Submitted():
            user = f" for {event.user}" if event.user else ""
            return f"submitted to queue {event.queue}, {event.priority} priority{user}"
        case Claimed():
            return f"{event.owner} takes the job"
        case Recovered():
            return (
                f"{event.owner} takes the job over from {event.previous_owner or 'nobody'} "
                f"({event.reason}, silent for {event.idle_ms / 1000:.1f} s, crash {event.crashes})"
            )
        case Submitting():
            return f"attempt {event.attempt}: about to be sent to {event.backend}"
        case Queued():
            return f"attempt {event.attempt}: accepted by ComfyUI"
        case Started():
            return f"attempt {event.attempt}: runs"
        case Progressed():
            steps = f", step {event.step} of {event.steps}" if event.steps else ""
            node = f" in {event.node_class or 'node ' + event.node}" if event.node else ""
            return f"{event.value:.0%}{node}{steps}"
        case OutputSaved():
            return f"node {event.node} has saved its output"
        case _:
            return _turn(event)


def _turn(
    event: CancelRequested
    | Released
    | Stopping
    | Lost
    | Retried
    | Rewound
    | Succeeded
    | Failed
    | Canceled
    | Expired,
) -> str:
    match event:
        case CancelRequested():
            return "cancel asked for" + (f": {event.reason}" if event.reason else "")
        case Released():
            return f"handed over ({event.reason})"
        case Stopping():
            return f"attempt {event.attempt}: about to be stopped, {event.why}"
        case Lost():
            return f"attempt {event.attempt}: lost at {event.backend} ({event.cause})"
        case Retried():
            return f"attempt {event.attempt} failed ({event.failure.code}); to be tried again"
        case Rewound():
            return f"the server had lost events: at {event.found_seq}, {event.seen_seq} were seen"
        case Succeeded():
            reused = ", all of it answered from the cache" if event.outputs_reused else ""
            return f"succeeded with {len(event.outputs)} output(s){reused}"
        case Failed():
            return f"failed: {event.failure.code}, {event.failure.message.strip()}"
        case Canceled():
            return "canceled" + (f": {event.reason}" if event.reason else "")
        case Expired():
            return f"expired: {event.reason}"
        case _:
            assert_never(event)


def changes(before: Job, after: Job) -> dict[str, tuple[object, object]]:
    """Return the fields that differ between two states, with both values."""
    names = Job.__struct_fields__
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
