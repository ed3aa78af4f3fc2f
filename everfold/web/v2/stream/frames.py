"""What is sent of a job as it goes on: the frames of a stream of server-sent events.

Rule: every output is sent before the status with which its job
ends, because clients stop reading there. The last frame of an event has its number as `id`.
"""

from __future__ import annotations

import base64
from datetime import datetime

import msgspec
from msgspec import UNSET, Struct

from everfold.projector.job.job import Job
from everfold.streams.live.live_message import Preview
from everfold.web.v2.job_answer import progress_of, shown_position
from everfold.web.v2.outputs import outputs_of
from everfold.web.v2.shapes import PreviewEvent, StatusEvent

_encode = msgspec.json.encode


class Place(Struct, frozen=True):
    """What frames need besides a job."""

    base: str
    """Address of the API, as these readers have reached it."""
    until: datetime
    """How long the urls of outputs are said to count."""


def snapshot(job: Job, position: int | None, place: Place) -> bytes:
    """Return what a reader is sent that has seen nothing of a job."""
    status, progress = status_frame(job, position), _progress(job)
    outputs = [_frame("output", one) for one in outputs_of(job, place.base, place.until)]
    if job.is_terminal:
        return _numbered([*progress, *outputs, status], job.seq)
    return _numbered([status, *progress, *outputs], job.seq)


def frames_between(before: Job, after: Job, place: Place) -> bytes:
    """Return what a reader is sent of one event; nothing for one that changes nothing for it."""
    frames = _progress(after) if progress_of(after) != progress_of(before) else []
    if after.outputs is not before.outputs or after.is_terminal:
        known = {one.id for one in outputs_of(before, place.base, place.until)}
        found = outputs_of(after, place.base, place.until)
        frames += [_frame("output", one) for one in found if one.id not in known]
    if after.status != before.status:
        frames.append(status_frame(after, None))
    return _numbered(frames, after.seq)


def status_frame(job: Job, position: int | None) -> bytes:
    """Return the status of a job, and where it waits, if that is known."""
    shown = shown_position(job, position)
    event = StatusEvent(status=job.status, queue_position=UNSET if shown is None else shown)
    return _frame("status", event)


def preview_frame(preview: Preview) -> bytes:
    """Return a picture of a node."""
    event = PreviewEvent(
        node_id=preview.node,
        content_type=preview.media_type,
        data_base64=base64.b64encode(preview.image).decode(),
    )
    return _frame("preview", event)


def _progress(job: Job) -> list[bytes]:
    progress = progress_of(job)
    return [] if progress is None else [_frame("progress", progress)]


def _frame(name: str, value: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encode(value))


def _numbered(frames: list[bytes], seq: int) -> bytes:
    return b"".join([*frames[:-1], b"id: %d\n" % seq, frames[-1]]) if frames else b""
