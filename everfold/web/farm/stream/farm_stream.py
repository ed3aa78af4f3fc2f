"""The stream of the farm: all that a page shows of it, on one connection.

Rule: the id of each message says where its reader is. Whoever comes back with it, to any gateway,
gets the whole farm again and every job that changed since.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator

import msgspec
from msgspec import Struct
from starlette.responses import Response

from everfold.streams.errors import InvalidName, JobUnknown
from everfold.streams.events.checks import check_job
from everfold.web.event_stream import KEEP_ALIVE_S, RETRY, EventStream
from everfold.web.farm.mailbox import Mailbox, farm_frame, jobs_frame
from everfold.web.farm.stream.coming_back import ComingBack
from everfold.web.farm.stream.watched_job import WatchedJob
from everfold.web.farm.summaries import summary_of
from everfold.web.operation import Call, Operation, Parameter
from everfold.web.own.answers import UNDER
from everfold.web.own.events.cursors import PARTITIONS_LIMIT, Cursors, read_cursors
from everfold.web.own.events.job_events import LAST_EVENT_ID
from everfold.web.query import Query

JOB = Parameter(name="job", told="A job of which all events, progress and previews are sent, too.")
AFTER = Parameter(
    name="after",
    most=28 * PARTITIONS_LIMIT,
    told="The id of the last message that was received, for a page, which can send no header.",
)

HERE = b"event: here\ndata: {}\n\n"
"""Sent for a comment: a page hears none, and would take a dead connection for a quiet one."""

_ID = re.compile(r"([0-9a-z.-]+)(?:~([0-9]{1,16}))?")

_encode = msgspec.json.Encoder().encode


class Place(Struct, frozen=True):
    """Where a reader was."""

    cursors: Cursors | None = None
    seq: int = 0
    """The last event of its job that it has."""


async def stream_farm(call: Call) -> Response:
    """Send the farm and what changes there."""
    query = Query(call.request, (JOB, AFTER))
    job_id, place = query.text("job"), _place(call, query)
    frames = _frames(call, job_id, place)
    await anext(frames)  # what goes wrong at the beginning is answered as a problem
    return EventStream(frames, call.gateway.counters)


def _place(call: Call, query: Query) -> Place:
    sent = call.request.headers.get("last-event-id")
    given = sent or query.text("after")
    if not given:
        return Place()
    match = _ID.fullmatch(given)
    if match is None:
        raise InvalidName(
            "Last-Event-ID" if sent else "after",
            given,
            "give back the id of a message of this stream",
        )
    partitions = call.gateway.everfold.log.keys.partitions
    return Place(read_cursors(match[1], partitions), int(match[2] or 0))


async def _frames(call: Call, job_id: str | None, place: Place) -> AsyncGenerator[bytes, None]:
    """Yield nothing once all is known that is sent first, then messages."""
    gateway, user = call.gateway, call.caller.scope
    async with contextlib.AsyncExitStack() as stack:
        watched_feed = None
        if job_id:
            watched_feed = await stack.enter_async_context(gateway.feeds.open(_checked(job_id)))
            if not call.caller.sees(watched_feed.job.user):
                raise JobUnknown(job_id)
        box = await gateway.farm.join(user)
        stack.callback(gateway.farm.leave, box)
        watched = None
        if watched_feed is not None:
            watched = WatchedJob(gateway.everfold, watched_feed, place.seq, box.wake)
            stack.callback(watched.close)
        yield b""
        yield RETRY
        if place.cursors is not None:
            async for told in _from_before(call, box, place.cursors, place.seq):
                yield told
        while True:
            told = await _told(call, box, watched)
            if told:
                yield told
            if not await box.wait(KEEP_ALIVE_S):
                yield HERE


def _checked(job_id: str) -> str:
    try:
        return check_job(job_id)
    except InvalidName as error:
        raise JobUnknown(job_id) from error


async def _told(call: Call, box: Mailbox, watched: WatchedJob | None) -> bytes:
    """Return the messages for what is in the mailbox, and of the job."""
    members, jobs = box.take()
    cursor, view = box.cursor, call.gateway.farm.view
    message_id = f"{cursor}~{watched.seq}" if watched else cursor
    told = list[bytes]()
    if members:
        told.append(farm_frame(members, view.now_ms if view else 0, cursor, message_id))
    if jobs:
        told.append(jobs_frame(jobs, message_id))
    if watched is not None:
        told += await watched.frames(cursor)
    return b"".join(told)


async def _from_before(
    call: Call, box: Mailbox, cursors: Cursors, seq: int
) -> AsyncGenerator[bytes, None]:
    """Yield the farm, then the jobs that changed after a place; the id stays that of the place."""
    members, _ = box.take()
    message_id, view = f"{cursors}~{seq}", call.gateway.farm.view
    at_ms = view.now_ms if view else 0
    yield farm_frame(members, at_ms, box.cursor, message_id)
    coming_back = ComingBack(call.gateway.everfold.log, cursors)
    async for jobs in coming_back.jobs():
        seen = [_encode(summary_of(job)) for job in jobs if call.caller.sees(job.user)]
        if seen:
            yield jobs_frame(seen, message_id)
    if coming_back.has_missed:
        yield farm_frame({"has_missed": b"true"}, at_ms, box.cursor, message_id)


FARM_STREAM: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/farm/stream", answer=stream_farm, name="stream_farm",
        role="reader", parameters=(JOB, AFTER, LAST_EVENT_ID), answers={200: "text/event-stream"},
        summary="Send the whole farm and what changes there, and all of one job if one is named.",
    ),
)  # fmt: skip
