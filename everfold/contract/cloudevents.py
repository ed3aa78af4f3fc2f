"""One event as a CloudEvent 1.0, for structured JSON: what brokers and functions understand.

Rule: nothing here reads a clock or the network; the same entry gives the same CloudEvent always.
Source: https://github.com/cloudevents/spec, core 1.0.2 and its extensions `sequence` and
`distributed-tracing`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import UNSET, Raw, Struct
from msgspec.json import decode

from everfold.contract.json_schema import event_urn
from everfold.streams.errors import UndecodableEvent
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import Recorded

SEQUENCE_DIGITS = 10
"""As many as the largest sequence that CloudEvents knows has, 2147483647."""


class CloudEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Encoded with msgspec.json, this is a structured-mode CloudEvent."""

    specversion: str
    id: str
    """The event's own id: the same however often it is delivered."""
    source: str
    type: str
    subject: str = ""
    """Job id."""
    time: str
    datacontenttype: str
    dataschema: str
    """What `everfold schema json TYPE` prints has this `$id`."""
    sequence: str
    """Place in the order of its subject's events, zero-padded: compared as text. Without
    `sequencetype`, whose Integer would count all events of the source."""
    epoch: int
    entryid: str
    traceparent: str = ""
    data: Raw
    """The event's JSON as stored."""


class _Stored(Struct):
    v: int = 1


def to_cloudevent(record: Recorded, namespace: str) -> CloudEvent:
    """Return the CloudEvent of one event.

    Raises UndecodableEvent for an entry that cannot be read, was trimmed, or is not Everfold's:
    its type and its id are not known, so that it has no CloudEvent.
    """
    event = record.event
    if isinstance(event, Unreadable):
        raise _undecodable(record, event.why)
    tag = str(event.__struct_config__.tag)
    return CloudEvent(
        specversion="1.0",
        # Programs of others may have appended without an id.
        id=event.id or f"{record.job_id}:{record.seq}",
        source=f"/everfold/{namespace}",
        type=tag,
        subject=record.job_id,
        time=_time(record),
        datacontenttype="application/json",
        dataschema=event_urn(tag, decode(record.payload, type=_Stored).v),
        sequence=f"{record.seq:0{SEQUENCE_DIGITS}}",
        epoch=record.epoch,
        entryid=record.entry_id,
        traceparent="" if event.trace is UNSET else event.trace,
        data=Raw(_one_line(record)),
    )


def _time(record: Recorded) -> str:
    """Return the entry's time as RFC 3339 has it. Entry ids go beyond the year 9999."""
    seconds, milliseconds = divmod(record.time_ms, 1000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _undecodable(record, "its entry id is no time") from error
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"


def _one_line(record: Recorded) -> bytes:
    """Return the stored JSON; where others wrote it over many lines, these become one."""
    try:
        record.payload.decode()
    except UnicodeDecodeError as error:
        # Reading skips the fields that it does not know, whatever they hold.
        raise _undecodable(record, "a field that is not known is not UTF-8") from error
    return record.payload.translate(LINE_ENDS)


LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")
"""JSON has them between its words only, never within a text."""


def _undecodable(record: Recorded, why: str) -> UndecodableEvent:
    return UndecodableEvent(record.job_id, record.seq, record.entry_id, why)
