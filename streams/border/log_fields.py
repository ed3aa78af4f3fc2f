"""The event and the fields that a log record has by its format: `claimed job=%s attempt=%d`.

Rule: the first word of a format is the event; each `name=%s` is a field, whose value is
masked and bounded, and stays the text that it is: who writes it escapes it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from everfold.streams.border.text import bounded_for_log

Value = str | int | float | bool | None

_EVENT = re.compile(r"\w+(?= |$)")
_FIELD = re.compile(r" (\w+)=(%[-+ #0]*\d*(?:\.\d+)?[sdrgfx])")


class Form(Struct, frozen=True):
    """What a format says: an event, and its fields by name with the form of each."""

    event: str
    fields: tuple[tuple[str, str], ...]


@lru_cache(maxsize=1_000)
def form_of(text: str) -> Form | None:
    """Return what a record's format says; None for one that is a sentence, as libraries have."""
    found = _EVENT.match(text)
    if found is None:
        return None
    fields = tuple((one[1], one[2]) for one in _FIELD.finditer(text, found.end()))
    written = found[0] + "".join(f" {name}={form}" for name, form in fields)
    return Form(found[0], fields) if written == text else None


def set_fields(record: logging.LogRecord) -> None:
    """Give a record its event and its fields as attributes, as logging's `extra` does."""
    form = form_of(record.msg) if isinstance(record.msg, str) else None
    values = record.args if isinstance(record.args, tuple) else ()
    if form is None or len(form.fields) != len(values):
        return
    record.event = form.event
    for (name, written), value in zip(form.fields, values, strict=True):
        if name not in record.__dict__:
            setattr(record, name, _value(value, written))


def fields_of(record: logging.LogRecord) -> tuple[str, Mapping[str, Value]] | None:
    """Return the event and the fields that `set_fields` gave a record; None without any."""
    form = form_of(record.msg) if isinstance(record.msg, str) else None
    if form is None or getattr(record, "event", None) != form.event:
        return None
    return form.event, {name: getattr(record, name, None) for name, _ in form.fields}


def _value(value: object, written: str) -> Value:
    if isinstance(value, float) and "." in written:
        return float(written % value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return bounded_for_log(argument_text(value))


def argument_text(value: object) -> str:
    """Return the text of a record's argument, before it is bounded and masked."""
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return value if isinstance(value, str) else repr(value)
