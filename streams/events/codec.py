"""Events to JSON and back, without ever stopping a reader.

Rule: `decode` is total. What cannot be read becomes an `Unreadable` value that keeps the raw
bytes, so that one strange event parks its job and not its partition. A log is never rewritten:
old versions are upcast on reading. Who changes the meaning of an event raises its version in
`CURRENT_VERSION`, adds steps to `UPCASTS`, `DOWNCASTS` and `INTRODUCED`, and adds a golden file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import cast, get_args

from msgspec import Struct, convert
from msgspec.json import Decoder, Encoder

from everfold.streams.errors import EventTooLarge, EventTooNew, Refused
from everfold.streams.events.event import (
    CLOSING_STATUS,
    Canceled,
    Event,
    Failed,
    OutputSaved,
    Submitted,
    Succeeded,
)
from everfold.streams.events.json_text import UNDECODABLE, check_nesting, nests_within
from everfold.streams.events.limits import (
    EVENT_LIMIT_BYTES,
    EVENT_NESTING,
    NESTING_LIMIT,
    OUTPUT_LIMIT_BYTES,
)
from everfold.streams.events.shortening import shortened

RawEvent = dict[str, object]
Upcast = Callable[[RawEvent], RawEvent]

CURRENT_VERSION: Mapping[str, int] = {}
"""Type -> version written today; a type that is not named here is at version 1."""

UPCASTS: Mapping[tuple[str, int], Upcast] = {}
"""(type, version) -> the step to the next version."""

DOWNCASTS: Mapping[tuple[str, int], Upcast] = {}
"""(type, version) -> the step to the version before, for namespaces with older readers."""

INTRODUCED: Mapping[tuple[str, int], int] = {}
"""(type, version) -> the reader level that a program needs for it; 1 where it is not named."""


class Unreadable(Struct, frozen=True):
    """An event that this program cannot read: unknown type, newer version or broken JSON."""

    kind: str
    """The event's type as far as it could be seen, else an empty string."""
    why: str
    payload: bytes
    skipped: bool = False
    """The job is folded on without it: an operator decided so, or its author (`ignorable`)."""


_encoder = Encoder()
_decoder: Decoder[Event] = Decoder(Event)
_raw_decoder = Decoder(dict[str, object])

READABLE: type[Event] = cast("type[Event]", Event)
"""The union of all types that this program can read."""

CLOSING_KINDS = {str(kind.__struct_config__.tag) for kind in CLOSING_STATUS}

ANY_LEVEL = 1_000_000
"""Level of a reader that knows everything."""

WITH_FREE_JSON = frozenset({Submitted, OutputSaved, Succeeded, Failed, Canceled})
"""Types that carry values of any shape, given by a caller or by ComfyUI."""


def encode(event: Event, limit_bytes: int = EVENT_LIMIT_BYTES, level: int = ANY_LEVEL) -> bytes:
    """Return the JSON that is stored in the log, of `limit_bytes` at most.

    It has the newest version that programs of reader level `level` can read.
    Outputs and messages of an event that is larger are shortened, and outputs that are nested
    deeper than NESTING_LIMIT, see `shortening.py`. Raises
    EventTooLarge where that is not enough, and Refused for an event that would never be read
    again: structs do not check what their fields are given, and JSON has no NaN and no infinity.
    Raises EventTooNew for a type that programs of that level do not know.
    """
    payload = _written(event, limit_bytes, level)
    found = decode(payload)
    if isinstance(found, Unreadable):
        raise Refused(f"nobody could read this {found.kind or 'event'}: {found.why}")
    return payload


def encode_trusted(
    event: Event, limit_bytes: int = EVENT_LIMIT_BYTES, level: int = ANY_LEVEL
) -> bytes:
    """Return the JSON of an event that Everfold's own typed code has built.

    It saves the decoding by which `encode` checks the fields, except where they hold free JSON.
    Raises as `encode` does.
    """
    if type(event) in WITH_FREE_JSON:
        return encode(event, limit_bytes, level)
    return _written(event, limit_bytes, level)


def _written(event: Event, limit_bytes: int, level: int) -> bytes:
    payload = _json(event, level)
    if len(payload) > min(OUTPUT_LIMIT_BYTES, limit_bytes) or not nests_within(
        payload, NESTING_LIMIT
    ):
        payload = _json(shortened(event, limit_bytes), level)
    if len(payload) > limit_bytes:
        kind = str(type(event).__struct_config__.tag)
        raise EventTooLarge(kind, len(payload), limit_bytes)
    return payload


def _json(event: Event, level: int) -> bytes:
    try:
        payload = _encoder.encode(event)
        return _of_level(payload, event, level) if CURRENT_VERSION or INTRODUCED else payload
    except (*UNDECODABLE, TypeError) as error:
        raise Refused(f"this event cannot be written as JSON: {error}") from error


def _of_level(payload: bytes, event: Event, level: int) -> bytes:
    """Return an event of the newest version as the newest one that a reader level knows."""
    kind = str(type(event).__struct_config__.tag)
    newest = current_version(kind, CURRENT_VERSION)
    known = [v for v in range(1, newest + 1) if INTRODUCED.get((kind, v), 1) <= level]
    if not known:
        raise EventTooNew(kind, INTRODUCED[kind, newest], level)
    if newest == 1:
        return payload
    raw = {**_raw_decoder.decode(payload), "v": newest}
    for version in range(newest, known[-1], -1):
        raw = {**DOWNCASTS[kind, version](raw), "v": version - 1}
    return _encoder.encode(raw)


def decode(payload: bytes) -> Event | Unreadable:
    """Return the event in the shape of its current version; never raises."""
    try:
        event = _decoder.decode(payload)
        if type(event) in WITH_FREE_JSON:
            check_nesting(payload, EVENT_NESTING)
    except UNDECODABLE:
        return _decode_old(payload)
    is_newest = not CURRENT_VERSION or event.__struct_config__.tag not in CURRENT_VERSION
    return event if event.v == 1 and is_newest else _decode_old(payload)


def _decode_old(payload: bytes) -> Event | Unreadable:
    kind, ignorable = "", False
    try:
        check_nesting(payload, EVENT_NESTING)
        raw = _raw_decoder.decode(payload)
        kind = str(raw.get("type", ""))
        # An end decides what may follow, so nobody may fold on without it.
        ignorable = raw.get("ignorable") is True and kind not in CLOSING_KINDS
        event: Event = convert(upcast(raw), READABLE)
        return event
    except UNDECODABLE as error:
        return Unreadable(kind, str(error), payload, skipped=ignorable)


def reader_level() -> int:
    """Return the reader level of this program: it reads all events of this level and below."""
    return max(INTRODUCED.values(), default=1)


def current_version(kind: str, versions: Mapping[str, int] = CURRENT_VERSION) -> int:
    """Return the schema version that is written today for a type such as `job.started`."""
    return versions.get(kind, 1)


def reads() -> str:
    """Return a fingerprint of the types and versions that this program can read."""
    kinds = sorted(str(kind.__struct_config__.tag) for kind in get_args(READABLE))
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
