"""The events of all jobs as they happen, for those who see all.

Rule: the id of each message says where its reader is in every partition. Whoever comes back with
one, to any gateway, gets what followed it, from the log and then from what is followed live.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from starlette.responses import Response

from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import last_entry_ids, merged, partition_events
from everfold.web.event_stream import COMMENT, RETRY, EventStream, following
from everfold.web.feeds.ring import Overtaken
from everfold.web.operation import Call, Operation, Parameter
from everfold.web.own.answers import UNDER, check_sees_all
from everfold.web.own.events.cursors import PARTITIONS_LIMIT, Cursors, read_cursors
from everfold.web.own.events.job_events import LAST_EVENT_ID
from everfold.web.own.events.logged import frame
from everfold.web.query import Query

AFTER = Parameter(
    name="after",
    most=28 * PARTITIONS_LIMIT,
    told="The id of an event, to begin after it. Default: what comes from now on.",
)
FRAMES_AT_ONCE = 100
"""Events of the log that are sent together."""


async def stream_all_events(call: Call) -> Response:
    """Send the events of all jobs."""
    check_sees_all(call.caller)
    after = Query(call.request, (AFTER,)).text("after")
    given = call.request.headers.get("last-event-id") or after
    log = call.gateway.everfold.log
    place = call.gateway.feeds.records.end
    if given:
        cursors, is_behind = read_cursors(given, log.keys.partitions), True
    else:
        cursors, is_behind = Cursors(await last_entry_ids(log)), False
    frames = _frames(call, cursors, place, is_behind=is_behind)
    return EventStream(frames, call.gateway.counters)


async def _frames(
    call: Call, cursors: Cursors, place: int, *, is_behind: bool
) -> AsyncGenerator[bytes, None]:
    yield RETRY
    records = call.gateway.feeds.records
    while True:
        if is_behind:
            place = records.end  # before the log is read: what is read then may come twice
            async for told in _from_log(call, cursors):
                yield told
        try:
            async for found in following(records, place):
                place += len(found)
                told = _new(call, found, cursors)
                if told or not found:
                    yield told or COMMENT
        except Overtaken:
            is_behind = True
            continue
        return


async def _from_log(call: Call, cursors: Cursors) -> AsyncGenerator[bytes, None]:
    """Yield what the log has after the cursors, a page at a time, and move them."""
    log = call.gateway.everfold.log
    readers = [partition_events(log, p, after) for p, after in cursors.entry_ids.items()]
    page = list[Recorded]()
    async for record in merged(readers):
        page.append(record)
        if len(page) == FRAMES_AT_ONCE:
            yield _new(call, await log.opened_records(page), cursors)
            page = []
    if page:
        yield _new(call, await log.opened_records(page), cursors)


def _new(call: Call, records: Iterable[Recorded], cursors: Cursors) -> bytes:
    """Return the frames of what the reader does not have yet.

    An entry of another program belongs to no job, and no partition of it is known.
    """
    partition_of = call.gateway.everfold.log.keys.partition_of
    return b"".join(
        frame(record, str(cursors))
        for record in records
        if record.job_id and cursors.takes(partition_of(record.job_id), record.entry_id)
    )


ALL_EVENTS: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/events/stream", answer=stream_all_events,
        name="stream_all_events", role="reader",
        summary="Send the events of all jobs as they happen, to a caller that sees all.",
        parameters=(AFTER, LAST_EVENT_ID), answers={200: "text/event-stream"},
    ),
)  # fmt: skip
