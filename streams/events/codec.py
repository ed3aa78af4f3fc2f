"""Events to JSON and back, without ever stopping a reader.

Rule: `decode` is total. What cannot be read becomes an `Unreadable` value that keeps the raw
bytes, so that one strange event parks its job and not its partition. A log is never rewritten:
old versions are upcast on reading. Who changes the meaning of an event raises its version in
`CURRENT_VERSION`, adds the step from the version before to `UPCASTS`, and adds a golden file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

from msgspec import MsgspecError, Struct, convert
from msgspec.json import Decoder, Encoder

from everfold.streams.errors import Refused
from everfold.streams.events.event import Event

RawEvent = dict[str, object]
Upcast = Callable[[RawEvent], RawEvent]

CURRENT_VERSION: Mapping[str, int] = {}
"""Type -> version written today; a type that is not named here is at version 1."""

UPCASTS: Mapping[tuple[str, int], Upcast] = {}
"""(type, version) -> the step to the next version."""


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


def current_version(kind: str, versions: Mapping[str, int] = CURRENT_VERSION) -> int:
    return versions.get(kind, 1)


def upcast(
    raw: RawEvent,
    versions: Mapping[str, int] = CURRENT_VERSION,
    steps: Mapping[tuple[str, int], Upcast] = UPCASTS,
) -> RawEvent:
    """Return `raw` in today's shape, one step per version.

    Raises ValueError for a version that is newer than this program, or that has no step.
    """
    kind, version = str(raw.get("type")), raw.get("v", 1)
    newest = current_version(kind, versions)
    if not isinstance(version, int) or version > newest:
        raise ValueError(f"{kind} has schema version {version}; this Everfold knows up to {newest}")
    for step in range(version, newest):
        if (kind, step) not in steps:
            raise ValueError(f"{kind} version {step} has no upcast to version {step + 1}")
        raw = {**steps[kind, step](raw), "v": step + 1}
    return raw
