"""What happened to a job, and what happens to it: as pages, and as it happens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial

from msgspec import Struct
from starlette.responses import Response

from everfold.streams.errors import InvalidName, JobUnknown
from everfold.streams.events.record import Recorded
from everfold.web.bodies import json_answer
from everfold.web.event_stream import (
    COMMENT,
    HEADERS,
    RETRY,
    EventStream,
    direct_sender,
    following,
)
from everfold.web.feeds.happening import Change
from everfold.web.feeds.piece import Piece
from everfold.web.operation import Call, Operation, Parameter
from everfold.web.own.answers import UNDER, job_id_of
from everfold.web.own.events.logged import LoggedEvent, frame, logged
from everfold.web.query import Query

MOST_EVENTS = 1_000

AFTER_SEQ = Parameter(
    name="after_seq", kind=int, least=0, most=2**53, told="Only events after this number: 0."
)
EVENT_LIMIT = Parameter(
    name="limit", kind=int, least=1, most=MOST_EVENTS, told="The most events: 200."
)
LAST_EVENT_ID = Parameter(
    name="Last-Event-ID",
    place="header",
    told="The id of the last event that was received, to go on after it; counts before the query.",
)

SHARED = "own"
"""How the changes of a feed call what is sent of them here."""


class EventPage(Struct, frozen=True):
    """Some events of a job, in order."""

    events: list[LoggedEvent]
    after_seq: int | None
    """Ask with it for the next page; None when this is the last one."""


async def list_events(call: Call) -> Response:
    """Return events of a job, in order."""
    query = Query(call.request, (AFTER_SEQ, EVENT_LIMIT))
    after_seq, limit = query.number("after_seq", 0), query.number("limit", 200)
    job = await call.gateway.job(call.caller, job_id_of(call))
    found = await call.gateway.everfold.events(job.job_id, after_seq)
    page = found[:limit]
    following_seq = page[-1].seq if len(found) > limit else None
    return json_answer(EventPage([logged(record) for record in page], following_seq))


async def stream_events(call: Call) -> Response:
    """Send the events of a job, those before and those to come, until it has ended.

    204 for one that has ended and has no event after the given one: a browser then asks no more.
    """
    after_seq = _after_seq(call)
    job = await call.gateway.job(call.caller, job_id_of(call))
    if job.rewound and after_seq > job.seq:
        after_seq = 0  # the server has lost what this reader has seen
    if job.is_terminal and not await call.gateway.everfold.events(job.job_id, after_seq):
        return Response(status_code=204, headers=HEADERS)
    frames = _frames(call, job.job_id, after_seq)
    await anext(frames)  # what goes wrong at the beginning is answered as a problem
    return EventStream(frames, call.gateway.counters)


def _after_seq(call: Call) -> int:
    after_seq = Query(call.request, (AFTER_SEQ,)).number("after_seq", 0)
    last = call.request.headers.get("last-event-id", "")
    if not last:
        return after_seq
    if not (last.isascii() and last.isdigit() and len(last) <= 16):
        raise InvalidName("Last-Event-ID", last, "give back the id of an event of this job")
    return int(last)


async def _frames(call: Call, job_id: str, after_seq: int) -> AsyncGenerator[bytes, None]:
    """Yield nothing once the job's feed is open, then frames."""
    async with call.gateway.feeds.open(job_id) as feed:
        place, is_behind = feed.changes.end, after_seq < feed.job.seq
        if not call.caller.sees(feed.job.user):
            raise JobUnknown(job_id)
        yield b""
        yield RETRY
        seen = after_seq
        if is_behind:
            found = await call.gateway.everfold.events(job_id, after_seq)
            if found:
                yield _told(found)
                seen = found[-1].seq
        send = direct_sender(call.request.scope, call.gateway.counters)
        take = None if send is None else partial(_sent, send, seen)
        async for changes in following(feed.changes, place, take):
            fresh = [change for change in changes if change.record.seq > seen]
            if fresh or not changes:
                yield b"".join(map(_frame, fresh)) or COMMENT


def _sent(send: Callable[[Piece], bool], seen: int, change: Change) -> bool:
    return change.record.seq <= seen or send(_shared(change))


def _told(records: Sequence[Recorded]) -> bytes:
    return b"".join(frame(record, str(record.seq)) for record in records)


def _shared(change: Change) -> Piece:
    """Return what is sent of a change, made once for all that watch the job."""
    found = change.pieces.get(SHARED)
    if found is None:
        found = Piece.of(_frame(change))
        change.pieces[SHARED] = found
    return found


def _frame(change: Change) -> bytes:
    return frame(change.record, str(change.record.seq))


EVENTS: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/jobs/{{job_id}}/events", answer=list_events,
        name="list_job_events", role="reader", summary="Return events of a job, in order.",
        parameters=(AFTER_SEQ, EVENT_LIMIT), answers={200: EventPage},
    ),
    Operation(
        method="GET", path=f"{UNDER}/jobs/{{job_id}}/events/stream", answer=stream_events,
        name="stream_job_events", role="reader",
        summary="Send the events of a job, those before and those to come, until it has ended.",
        parameters=(AFTER_SEQ, LAST_EVENT_ID),
        answers={200: "text/event-stream", 204: None},
    ),
)  # fmt: skip
