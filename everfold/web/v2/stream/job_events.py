"""Streams what happens to a job, from what it is now, or from where a reader was, to its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial

from starlette.responses import Response

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import at
from everfold.streams.errors import CorruptLog, EverfoldError, InvalidName, JobUnknown
from everfold.web.event_stream import COMMENT, HEADERS, EventStream, direct_sender, following
from everfold.web.feeds.piece import Piece
from everfold.web.operation import Call
from everfold.web.problem import Problem
from everfold.web.v2.addresses import base_of
from everfold.web.v2.jobs import job_id_of
from everfold.web.v2.stream.frames import frames_between, snapshot
from everfold.web.v2.stream.job_stream import JobStream, Sent


async def stream_job(call: Call) -> Response:
    """Send the job, then each change of it until it has ended.

    With Last-Event-ID only what came after that; 204 where nothing can come. 501 for a job whose
    events cannot be read: clients poll then.
    """
    seq = _last_seen(call)
    if seq is not None:
        look = await call.gateway.look(call.caller, job_id_of(call))
        if look.job.is_terminal and seq == look.job.seq:
            return Response(status_code=204, headers=HEADERS)
    frames = _frames(call, job_id_of(call), seq)
    try:
        await anext(frames)  # what goes wrong at the beginning is answered as a problem
    except CorruptLog as error:
        raise Problem(501, "no_stream", str(error)) from error
    except InvalidName as error:
        raise JobUnknown(job_id_of(call)) from error
    return EventStream(frames, call.gateway.counters)


def _last_seen(call: Call) -> int | None:
    text = call.request.headers.get("last-event-id", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise Problem(400, "invalid_request", "Last-Event-ID is the id of an event of this stream")
    return int(text)


async def _frames(call: Call, job_id: str, seq: int | None) -> AsyncGenerator[bytes, None]:
    """Yield nothing once the stream is open, then what is to be sent."""
    async with call.gateway.job_streams.open(job_id, base_of(call.request)) as stream:
        if not call.caller.sees(stream.job.user):
            raise JobUnknown(job_id)
        yield b""
        place, job = stream.sent.end, stream.job
        preview = b"" if job.is_terminal else stream.preview.content
        now = snapshot(job, stream.position, stream.place) + preview
        yield await _missed(call, stream, job, seq) or now
        send = direct_sender(call.request.scope, call.gateway.counters)
        take = None if send is None else partial(_sent, send)
        async for messages in following(stream.sent, place, take):
            content = b"".join([message.content for message in messages])
            if content or not messages:
                yield content or COMMENT


def _sent(send: Callable[[Piece], bool], message: Sent) -> bool:
    return not message.content or send(message.piece())


async def _missed(call: Call, stream: JobStream, job: Job, seq: int | None) -> bytes:
    """Return what came after an event; nothing where that cannot be told, as after trimming, or
    where the server has lost it."""
    if seq is None or seq > job.seq:
        return b""
    everfold = call.gateway.everfold
    try:
        known = await at(everfold.log, job.job_id, seq) if seq else Job(job_id=job.job_id)
        known = await everfold.log.opened(known, job.job_id)
        records = await everfold.events(job.job_id, seq)
    except EverfoldError:
        return b""
    missed = COMMENT
    for record in records:
        if record.seq <= job.seq:
            after = evolve(known, record)
            missed += frames_between(known, after, stream.place)
            known = after
    return missed
