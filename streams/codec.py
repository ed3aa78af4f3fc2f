"""Events to JSON and back, without ever stopping a reader.

Rule: `decode` is total. What cannot be read becomes an `Unreadable` value that keeps the raw
bytes, so that one strange event parks its job and not its partition.
"""

from __future__ import annotations

from msgspec import DecodeError, Struct, ValidationError, convert
from msgspec.json import Decoder, Encoder

from streams.events import Event
from streams.upcast import current_version, upcast


class Unreadable(Struct, frozen=True):
    """An event that this program cannot read: unknown type, newer version or broken JSON."""

    kind: str
    """The event's type as far as it could be seen, else an empty string."""
    why: str
    payload: bytes


_encoder = Encoder()
_decoder: Decoder[Event] = Decoder(Event)
_raw_decoder = Decoder(dict[str, object])


def encode(event: Event) -> bytes:
    """Return the JSON that is stored in the log."""
    return _encoder.encode(event)


def decode(payload: bytes) -> Event | Unreadable:
    """Return the event, upcast to today's shape; never raises."""
    try:
        event = _decoder.decode(payload)
    except DecodeError:
        return _decode_old(payload)
    if event.v == current_version(event.__struct_config__.tag):  # type: ignore[arg-type]
        return event
    return _decode_old(payload)


def _decode_old(payload: bytes) -> Event | Unreadable:
    kind = ""
    try:
        raw = _raw_decoder.decode(payload)
        kind = str(raw.get("type", ""))
        event: Event = convert(upcast(raw), Event)
        return event
    except (ValidationError, DecodeError, ValueError) as error:
        return Unreadable(kind, str(error), payload)
