"""A job's history in plain words, one line per event. Rule: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from msgspec import Struct

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.events import event as events
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import Recorded

_NO_TITLES: Mapping[str, str] = {}


class EventLine(Struct, frozen=True):
    """One event as a line of a job's history."""

    time_ms: int
    seq: int
    epoch: int
    who: str
    what: str
    gap_ms: int
    """Milliseconds since the event before; 0 for the first one."""
    mark: str
    """`recovery` after the loss of a runner, `runner` where another one claimed, else empty."""
    job: Job
    """The state right after the event."""


def event_lines(
    records: Sequence[Recorded], titles: Mapping[str, str] = _NO_TITLES
) -> list[EventLine]:
    """Return one line per event. `records` is the whole history of one job, in order; `titles` is
    what people call the servers, by address."""
    job, owner, before_ms = Job(), "", records[0].time_ms if records else 0
    lines: list[EventLine] = []
    for record in records:
        event = record.event
        job = evolve(job, record)
        if isinstance(event, Unreadable):
            who, what, mark = "", f"an event that cannot be read: {event.why}", ""
        else:
            who, what, mark = event.actor, sentence(event, titles), _mark(event, owner)
            owner = event.owner if isinstance(event, events.Claimed | events.Recovered) else owner
        gap_ms = record.time_ms - before_ms
        before_ms = record.time_ms
        line = EventLine(record.time_ms, record.seq, record.epoch, who, what, gap_ms, mark, job)
        lines.append(line)
    return lines


def _mark(event: events.Event, owner: str) -> str:
    if isinstance(event, events.Recovered):
        return "recovery"
    return "runner" if isinstance(event, events.Claimed) and owner not in ("", event.owner) else ""


def sentence(event: events.Event, titles: Mapping[str, str] = _NO_TITLES) -> str:
    """Return what an event says, in words."""
    match event:
        case events.Submitted():
            user = f" for {event.user}" if event.user else ""
            return f"submitted to queue {event.queue}, {event.priority} priority{user}"
        case events.Claimed():
            return f"{event.owner} takes the job"
        case events.Recovered():
            return (
                f"{event.owner} takes over from {event.previous_owner or 'nobody'} "
                f"({event.reason}, silent for {event.idle_ms / 1000:.1f} s, crash {event.crashes})"
            )
        case events.Submitting():
            where = titles.get(event.backend, event.backend)
            return f"attempt {event.attempt}: will be sent to {where}"
        case events.Queued():
            return f"attempt {event.attempt}: accepted by ComfyUI"
        case events.Started():
            return f"attempt {event.attempt}: runs"
        case events.Progressed():
            steps = f", step {event.step} of {event.steps}" if event.steps else ""
            node = f" in {event.node_class or 'node ' + event.node}" if event.node else ""
            left = f", about {event.left_s} s left" if event.left_s else ""
            return f"{event.value:.0%}{node}{steps}{left}"
        case events.OutputSaved():
            return f"node {event.node} has saved its output"
        case _:
            return _rarer(event, titles)


def _rarer(
    event: events.CancelRequested
    | events.Released
    | events.Stopping
    | events.Lost
    | events.Retried
    | events.Rewound
    | events.Succeeded
    | events.Failed
    | events.Canceled
    | events.Expired,
    titles: Mapping[str, str],
) -> str:
    match event:
        case events.CancelRequested():
            return "cancel requested" + (f": {event.reason}" if event.reason else "")
        case events.Released():
            return f"released ({event.reason})"
        case events.Stopping():
            return f"attempt {event.attempt}: will be stopped, {event.why}"
        case events.Lost():
            where = titles.get(event.backend, event.backend)
            return f"attempt {event.attempt}: lost at {where} ({event.cause})"
        case events.Retried():
            return f"attempt {event.attempt} failed ({event.failure.code}); will be retried"
        case events.Rewound():
            return f"the server lost events: it had {event.found_seq} of {event.seen_seq}"
        case events.Succeeded():
            reused = ", all from the cache" if event.outputs_reused else ""
            count = len(event.outputs)
            return f"succeeded with {count} output{'' if count == 1 else 's'}{reused}"
        case events.Failed():
            return f"failed: {event.failure.code}, {event.failure.message.strip()}"
        case events.Canceled():
            return "canceled" + (f": {event.reason}" if event.reason else "")
        case events.Expired():
            return f"expired: {event.reason}"
        case _:
            assert_never(event)


def changes(before: Job, after: Job) -> dict[str, tuple[object, object]]:
    """Return the fields that differ between two states: name -> (before, after)."""
    names = Job.__struct_fields__
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
