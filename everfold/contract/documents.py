"""The contract's documents as JSON text, made from the source of the running Everfold."""

from __future__ import annotations

import inspect
import json
from types import ModuleType

from everfold.contract.asyncapi import asyncapi_document
from everfold.contract.json_schema import Schema, event_document, events_document
from everfold.streams.errors import Misconfigured
from everfold.streams.events import event as events
from everfold.streams.events import record
from everfold.streams.redis.script import Script


def json_schema(event_type: str = "") -> str:
    """Return the schema of all events, or of one type.

    Raises KeyError for an unknown type, Misconfigured where the source is not installed.
    """
    source = _source(events)
    return _text(event_document(source, event_type) if event_type else events_document(source))


def asyncapi() -> str:
    """Return the AsyncAPI document. Raises Misconfigured where the source is not installed."""
    return _text(asyncapi_document(_source(events), _source(record)))


def script(name: str) -> str:
    """Return one of the log's Lua scripts as the server gets it. FileNotFoundError for none."""
    return Script("everfold.streams", name).source


def _source(module: ModuleType) -> str:
    try:
        return inspect.getsource(module)
    except OSError as error:
        raise Misconfigured(
            f"the source of {module.__name__} is not installed, and the descriptions are in it"
        ) from error


def _text(document: Schema) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
