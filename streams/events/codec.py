"""Events to JSON and back, without ever stopping a reader.

Rule: `decode` is total. What cannot be read becomes an `Unreadable` value that keeps the raw
bytes, so that one strange event parks its job and not its partition. A log is never rewritten:
old versions are upcast on reading. Who changes the meaning of an event raises its version in
`CURRENT_VERSION`, adds the step from the version before to `UPCASTS`, and adds a golden file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import get_args

from msgspec import MsgspecError, Struct, convert
from msgspec.json import Decoder, Encoder

from everfold.streams.errors import EventTooLarge, Refused
from everfold.streams.events.event import (
    Canceled,
    Event,
    Failed,
    OutputSaved,
    Submitted,
    Succeeded,
)
from everfold.streams.events.shortening import EVENT_LIMIT_BYTES, OUTPUT_LIMIT_BYTES, shortened

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
_raw_decoder = Decoder(dict[str, object])

_WITH_NEW_VERSION = {k for k in get_args(Event) if k.__struct_config__.tag in CURRENT_VERSION}
"""Types whose version written today is not 1."""

EVENT_TYPES: tuple[type[Event], ...] = get_args(Event)
"""Every type that this program can read."""

WITH_FREE_JSON = (Submitted, OutputSaved, Succeeded, Failed, Canceled)
"""Types that carry values of any shape, given by a caller or by ComfyUI."""


def encode(event: Event, limit_bytes: int = EVENT_LIMIT_BYTES) -> bytes:
    """Return the JSON that is stored in the log, of `limit_bytes` at most.

    Outputs and messages of an event that is larger are shortened, see `shortening.py`. Raises
    EventTooLarge where that is not enough, and Refused for an event that would never be read
    again: structs do not check what their fields are given, and JSON has no NaN and no infinity.
    """
    payload = _written(event, limit_bytes)
    found = decode(payload)
    if isinstance(found, Unreadable):
        raise Refused(f"nobody could read this {found.kind or 'event'}: {found.why}")
    return payload


def encode_trusted(event: Event, limit_bytes: int = EVENT_LIMIT_BYTES) -> bytes:
    """Return the JSON of an event that Everfold's own typed code has built.

    It saves the decoding by which `encode` checks the fields, except where they hold free JSON.
    Raises as `encode` does.
    """
    if isinstance(event, WITH_FREE_JSON):
        return encode(event, limit_bytes)
    return _written(event, limit_bytes)


def _written(event: Event, limit_bytes: int) -> bytes:
    payload = _json(event)
    if len(payload) > min(OUTPUT_LIMIT_BYTES, limit_bytes):
        payload = _json(shortened(event, limit_bytes))
    if len(payload) > limit_bytes:
        kind = str(type(event).__struct_config__.tag)
        raise EventTooLarge(kind, len(payload), limit_bytes)
    return payload


def _json(event: Event) -> bytes:
    try:
        return _encoder.encode(event)
    except (*UNREADABLE, TypeError) as error:
        raise Refused(f"this event cannot be written as JSON: {error}") from error


def decode(payload: bytes) -> Event | Unreadable:
    """Return the event in the shape of its current version; never raises."""
    try:
        event = _decoder.decode(payload)
    except UNREADABLE:
        return _decode_old(payload)
    if event.v == 1 and type(event) not in _WITH_NEW_VERSION:
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
    """Return the schema version that is written today for a type such as `job.started`."""
    return versions.get(kind, 1)


def reads() -> str:
    """Return a fingerprint of the types and versions that this program can read."""
    kinds = sorted(str(kind.__struct_config__.tag) for kind in EVENT_TYPES)
    lines = (f"{kind} {current_version(kind, CURRENT_VERSION)}" for kind in kinds)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


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
