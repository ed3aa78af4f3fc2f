"""Converts a job to the hash that stores its state, and back.

Rule: every field of `Job` is a field of the hash, as plain text; lists and objects are JSON. A
missing field has its default; fields in `SHOWN` are never missing. The names in `EARLIER_NAMES`
are written too, for consumers that read those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import compress
from operator import is_not
from typing import Any

import msgspec
from msgspec.structs import FieldInfo, astuple, fields

from everfold.projector.job.evolve import PROGRESS_FIELDS
from everfold.projector.job.job import Job
from everfold.streams.events.json_text import decoder
from everfold.streams.events.limits import LAST_DATE_MS

EARLIER_NAMES = {"promptId": "prompt_id", "jobType": "kind", "userId": "user"}
"""Name in the hash -> the field of Job that it repeats."""

SHOWN = ("status", "queue", "priority", "progress")
"""Fields that are written even with their default, because readers of the hash need it."""

MOST = 2**64 - 1
"""The largest number: a hash may hold anything."""

_encode = msgspec.json.encode


def _writer(info: FieldInfo) -> Callable[[Any], str]:
    if info.type is str:
        return str
    if info.type is bool:
        return lambda value: "1" if value else "0"
    if info.type in (int, float):
        return repr
    return lambda value: "" if value is None else _encode(value).decode()


def _reader(info: FieldInfo) -> Callable[[bytes], Any]:
    if info.type is str:
        return bytes.decode
    if info.type is bool:
        return lambda text: text == b"1"
    if info.type is int:
        return partial(_whole, most=LAST_DATE_MS if info.name.endswith("_ms") else MOST)
    if info.type is float:
        return _part
    decode = decoder(info.type)
    return lambda text: decode(text) if text else None


def _whole(text: bytes, most: int) -> int:
    value = int(text)
    if abs(value) > most:
        raise ValueError("no number that Everfold writes")
    return value


def _part(text: bytes) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError("no number that Everfold writes")
    return value


_WRITERS = tuple((info.name, _writer(info)) for info in fields(Job))
_INDEXES = range(len(_WRITERS))
_PROGRESS = tuple((name, write) for name, write in _WRITERS if name in PROGRESS_FIELDS)
_READERS = {info.name: _reader(info) for info in fields(Job)}
_ALIASES = {name: earlier for earlier, name in EARLIER_NAMES.items()}
_EMPTY = Job()
_FIRST = {name: write(getattr(_EMPTY, name)) for name, write in _WRITERS if name in SHOWN}


def to_fields(job: Job, before: Job = _EMPTY) -> dict[str, str]:
    """Return the changed hash fields. With `before.seq == 0` (first write) SHOWN is included."""
    changed = {} if before.seq else _FIRST.copy()
    values, olds = astuple(job), astuple(before)
    # Most fields are the same objects as before: `is` is cheaper than `==`.
    for index in compress(_INDEXES, map(is_not, values, olds)):
        value = values[index]
        if value != olds[index]:
            name, write = _WRITERS[index]
            changed[name] = text = write(value)
            if name in _ALIASES:
                changed[_ALIASES[name]] = text
    return changed


def to_fields_of_progress(job: Job, before: Job) -> dict[str, str]:
    """Return the changed hash fields when all events since `before`, not the first, are progress.

    It is faster than `to_fields`, and this is the usual case.
    """
    return {
        name: write(value)
        for name, write in _PROGRESS
        if (value := getattr(job, name)) != getattr(before, name)
    }


def from_fields(stored: Mapping[bytes, bytes]) -> Job | None:
    """Return the job that a hash stores; None when it is empty or cannot be read.

    Unknown fields are ignored.
    """
    if b"seq" not in stored:
        return None
    try:
        values = {
            name: read(text)
            for name, read in _READERS.items()
            if (text := stored.get(name.encode())) is not None
        }
    except ValueError:
        return None
    return Job(**values)
