"""An event as it is sent: the fields of its entry in the log, and its own JSON.

Rule: pure, and the same as `everfold events --json` prints.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from everfold.streams.events.codec import Unreadable
from everfold.streams.events.json_text import NotJson, read_json
from everfold.streams.events.record import Recorded

LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")
"""In JSON they stand between tokens only, never inside a string."""

_encode = msgspec.json.Encoder().encode


class LoggedEvent(Struct, frozen=True):
    """One event of a job."""

    job_id: str
    seq: int
    """1, 2, 3 ... within the job."""
    epoch: int
    """The fencing token of the lease under which it was appended; 0 before the first claim."""
    entry_id: str
    """Of its entry in the log."""
    time_ms: int
    """Redis server time, Unix ms."""
    event: Raw
    """The event as `everfold schema json` describes it; a text where it cannot be read."""


def logged(record: Recorded) -> LoggedEvent:
    """Return an event of the log for programs."""
    return LoggedEvent(
        record.job_id, record.seq, record.epoch, record.entry_id, record.time_ms, _stored(record)
    )


def frame(record: Recorded, cursor: str) -> bytes:
    """Return an event as a message of server-sent events, with the id by which one resumes."""
    return b"id: %b\ndata: %b\n\n" % (cursor.encode(), _encode(logged(record)))


def _stored(record: Recorded) -> Raw:
    text = record.shown_payload
    try:
        text.decode()
        if isinstance(record.event, Unreadable):
            read_json(text)
    except (NotJson, UnicodeDecodeError):
        return Raw(_encode(text.decode(errors="replace")))
    return Raw(text.translate(LINE_ENDS))
