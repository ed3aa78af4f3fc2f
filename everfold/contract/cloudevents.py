"""Turns an event into a CloudEvent 1.0, in structured JSON.

Rule: no clock and no network; the same entry always gives the same CloudEvent.
Source: https://github.com/cloudevents/spec, core 1.0.2 and its extensions `sequence` and
`distributed-tracing`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import UNSET, Raw, Struct

from everfold.contract.json_schema import event_urn
from everfold.streams.errors import UndecodableEvent
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.record import Recorded

SEQUENCE_DIGITS = 10
"""The digits of 2147483647, the largest sequence of CloudEvents."""


class CloudEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Encoded with msgspec.json, this is a structured-mode CloudEvent."""

    specversion: str
    id: str
    """The event's id, the same in every delivery."""
    source: str
    type: str
    subject: str = ""
    """Job id."""
    time: str
    datacontenttype: str
    dataschema: str
    """What `everfold schema json TYPE` prints has this `$id`."""
    sequence: str
    """Sequence number within the subject, zero-padded so that texts compare. There is no
    `sequencetype`: its Integer counts all events of a source."""
    epoch: int
    entryid: str
    traceparent: str = ""
    data: Raw
    """The event's JSON as stored."""


class _Stored(Struct):
    v: int = 1


_decode = decoder(_Stored)


def to_cloudevent(record: Recorded, namespace: str) -> CloudEvent:
    """Return the CloudEvent of one event.

    Raises UndecodableEvent for an entry that cannot be read or is not Everfold's: its type and id
    are not known.
    """
    event = record.event
    if isinstance(event, Unreadable):
        raise _undecodable(record, event.why)
    tag = str(event.__struct_config__.tag)
    return CloudEvent(
        specversion="1.0",
        # A foreign program may have appended without an id.
        id=event.id or f"{record.job_id}:{record.seq}",
        source=f"/everfold/{namespace}",
        type=tag,
        subject=record.job_id,
        time=_time(record),
        datacontenttype="application/json",
        dataschema=event_urn(tag, _version(record)),
        sequence=f"{record.seq:0{SEQUENCE_DIGITS}}",
        epoch=record.epoch,
        entryid=record.entry_id,
        traceparent="" if event.trace is UNSET else event.trace,
        data=Raw(_one_line(record)),
    )


def _version(record: Recorded) -> int:
    try:
        return _decode(record.payload).v
    except NotJson as error:
        # The codec skips unknown fields, however deep they are.
        raise _undecodable(record, str(error)) from error


def _time(record: Recorded) -> str:
    """Return the entry's time in RFC 3339. Raises UndecodableEvent beyond the year 9999."""
    seconds, milliseconds = divmod(record.time_ms, 1000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _undecodable(record, "its entry id is no time") from error
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"


def _one_line(record: Recorded) -> bytes:
    """Return the stored JSON on one line."""
    try:
        record.payload.decode()
    except UnicodeDecodeError as error:
        # The decoder skips unknown fields without looking at their bytes.
        raise _undecodable(record, "a field that is not known is not UTF-8") from error
    return record.shown_payload.translate(LINE_ENDS)


LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")
"""In JSON they stand between tokens only, never inside a string."""


def _undecodable(record: Recorded, why: str) -> UndecodableEvent:
    return UndecodableEvent(record.job_id, record.seq, record.entry_id, why)
