"""A job as the flat hash that HGETALL shows, and back.

Rule: every field of `Job` is a field of the hash, as plain text; lists and objects are JSON. The
names promptId, jobType and userId, which earlier consumers read, are written beside ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import FieldInfo, fields

from projector.job import Job

EARLIER_NAMES = {"promptId": "prompt_id", "jobType": "kind", "userId": "user"}
"""Name in the hash -> field of Job whose value it repeats."""

_encode = msgspec.json.encode


def _writer(info: FieldInfo) -> Callable[[Any], bytes]:
    if info.type is str:
        return str.encode
    if info.type is bool:
        return lambda value: b"1" if value else b"0"
    if info.type in (int, float):
        return lambda value: repr(value).encode()
    return lambda value: b"" if value is None else _encode(value)


def _reader(info: FieldInfo) -> Callable[[bytes], Any]:
    if info.type is str:
        return bytes.decode
    if info.type is bool:
        return lambda text: text == b"1"
    if info.type in (int, float):
        return info.type  # type: ignore[no-any-return]
    decoder = msgspec.json.Decoder(info.type)
    return lambda text: decoder.decode(text) if text else None


_WRITERS = {info.name: _writer(info) for info in fields(Job)}
_READERS = {info.name: _reader(info) for info in fields(Job)}
_EMPTY = Job()


def to_fields(job: Job, before: Job = _EMPTY) -> dict[str, bytes]:
    """Return the hash fields of `job` that differ from `before`; a missing field is a default."""
    changed = {
        name: write(value)
        for name, write in _WRITERS.items()
        if (value := getattr(job, name)) != getattr(before, name)
    }
    for earlier, name in EARLIER_NAMES.items():
        if name in changed:
            changed[earlier] = changed[name]
    return changed


def from_fields(stored: Mapping[bytes, bytes]) -> Job | None:
    """Return the job that a hash shows, None for an empty hash. Unknown fields are ignored."""
    if b"seq" not in stored:
        return None
    values = {
        name: read(text)
        for name, read in _READERS.items()
        if (text := stored.get(name.encode())) is not None
    }
    return Job(**values)
