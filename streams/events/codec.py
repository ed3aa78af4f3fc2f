"""Events to JSON and back, without ever stopping a reader.

Rule: `decode` is total. What cannot be read becomes an `Unreadable` value that keeps the raw
bytes, so that one strange event parks its job and not its partition. `encode` lets nothing into
the log that `decode` could not read.
"""

from __future__ import annotations

from typing import get_args

from msgspec import MsgspecError, Struct, convert
from msgspec.json import Decoder, Encoder

from everfold.streams.errors import Refused
from everfold.streams.events.event import Event
from everfold.streams.events.upcast import CURRENT_VERSION, upcast


class Unreadable(Struct, frozen=True):
    """An event that this program cannot read: unknown type, newer version or broken JSON."""

    kind: str
    """The event's type as far as it could be seen, else an empty string."""
    why: str
    payload: bytes
    skipped: bool = False
    """Somebody decided that its job is folded on without it."""


UNREADABLE = (MsgspecError, ValueError, RecursionError)
"""What decoding may raise: text that is not UTF-8 and deep nesting have errors of their own."""

_encoder = Encoder()
_decoder: Decoder[Event] = Decoder(Event)
_RAISED = {kind for kind in get_args(Event) if kind.__struct_config__.tag in CURRENT_VERSION}
"""Types whose version written today is not 1."""
_raw_decoder = Decoder(dict[str, object])


def encode(event: Event) -> bytes:
    """Return the JSON that is stored in the log.

    Raises Refused for an event that would never be read again: structs do not check what their
    fields are given, and JSON has no NaN and no infinity.
    """
    try:
        payload = _encoder.encode(event)
    except (*UNREADABLE, TypeError) as error:
        raise Refused(f"this event cannot be written as JSON: {error}") from error
    again = decode(payload)
    if isinstance(again, Unreadable):
        raise Refused(f"nobody could read this {again.kind or 'event'}: {again.why}")
    return payload


def decode(payload: bytes) -> Event | Unreadable:
    """Return the event, upcast to today's shape; never raises."""
    try:
        event = _decoder.decode(payload)
    except UNREADABLE:
        return _decode_old(payload)
    if event.v == 1 and type(event) not in _RAISED:
        return event
    return _decode_old(payload)


def _decode_old(payload: bytes) -> Event | Unreadable:
    kind = ""
    try:
        raw = _raw_decoder.decode(payload)
        kind = str(raw.get("type", ""))
        event: Event = convert(upcast(raw), Event)
        return event
    except UNREADABLE as error:
        return Unreadable(kind, str(error), payload)
