"""An event in the envelope of CloudEvents 1.0, structured JSON.

Rule: `id` is the event's own id, so that whoever gets it twice can tell; `sequence` and
`traceparent` are the extensions of these names, `epoch` and `entryid` our own.
Source: github.com/cloudevents/spec, cloudevents/spec.md and cloudevents/extensions.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import UNSET, Struct, UnsetType

from everfold.contract.json_schema import urn
from streams.codec import Unreadable
from streams.errors import UndecodableEvent
from streams.record import Recorded

_BEGIN = datetime.min.replace(year=1970, tzinfo=UTC)

SEQUENCE_DIGITS = 20
"""So that sequences compare as text, as the extension asks for."""


class CloudEvent(Struct, frozen=True, kw_only=True):
    specversion: str = "1.0"
    id: str
    source: str
    """/everfold/ and the namespace."""
    type: str
    subject: str
    """The job's id."""
    time: str
    """Of the log's entry, by the server's clock."""
    datacontenttype: str = "application/json"
    dataschema: str
    sequence: str
    epoch: int
    entryid: str
    traceparent: str | UnsetType = UNSET
    data: msgspec.Raw
    """The event's JSON as it is stored."""


def to_cloudevent(record: Recorded, namespace: str) -> CloudEvent:
    """Return the envelope. Raises UndecodableEvent for an entry that is no event."""
    event = record.event
    if isinstance(event, Unreadable):
        raise UndecodableEvent(record.job_id, record.seq, record.entry_id, event.why)
    kind = str(event.__struct_config__.tag)
    moment = _BEGIN + timedelta(milliseconds=record.time_ms)
    return CloudEvent(
        id=event.id,
        source=f"/everfold/{namespace}",
        type=kind,
        subject=record.job_id,
        time=moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        dataschema=urn(kind),
        sequence=str(record.seq).zfill(SEQUENCE_DIGITS),
        epoch=record.epoch,
        entryid=record.entry_id,
        traceparent=event.trace,
        data=msgspec.Raw(record.payload),
    )
