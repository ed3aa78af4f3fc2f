"""Builds the JSON Schema (2020-12) of the events, from the classes that read and write them.

Rule: pure. The schema accepts what `codec.decode` reads: unknown fields are allowed everywhere, and
`v` is the version that is written today.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from msgspec.json import schema_components

from everfold.contract.docstrings import docstrings
from everfold.streams.events.codec import current_version
from everfold.streams.events.event import Event, Fact
from everfold.streams.events.policies import WORDS, one_of
from everfold.streams.events.ranges import RANGES

Schema = dict[str, object]

CONTRACT_VERSION = 1
"""Raised when a reader of the old documents cannot read new events."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"
EVENTS_URN = f"urn:everfold:events:{CONTRACT_VERSION}"

EVENT_TYPES: dict[str, type[Fact]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(Event)
}
"""Type, such as job.succeeded -> its class, in the order of a job's life."""


def event_urn(event_type: str, version: int | None = None) -> str:
    """Return the `$id` of one version of an event type's schema; the current one by default."""
    return f"urn:everfold:event:{event_type}:{version or current_version(event_type)}"


def event_schemas(source: str, references: str) -> dict[str, Schema]:
    """Return class name -> schema: the events in order, then the parts of events.

    `source` is the text of streams/events/event.py, `references` the prefix of each `$ref`.
    """
    said = docstrings(source)
    _, found = schema_components(
        EVENT_TYPES.values(), schema_hook=_anything, ref_template=references + "{name}"
    )
    events = {kind.__name__: event_type for event_type, kind in EVENT_TYPES.items()}
    schemas = {name: _explained(name, found[name], said) for name in [*events, *sorted(found)]}
    for name, event_type in events.items():
        _pin(schemas[name], event_type)
    return schemas


def events_document(source: str) -> Schema:
    """Return one schema for all events; exactly one branch fits an event, by its `type`."""
    return {
        "$schema": DIALECT,
        "$id": EVENTS_URN,
        "title": "Event",
        "description": "One event of a job, as the field `d` of an entry of Everfold's log.",
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in EVENT_TYPES.values()],
        "$defs": event_schemas(source, "#/$defs/"),
    }


def event_document(source: str, event_type: str) -> Schema:
    """Return the schema of one event type, with its parts. Raises KeyError for an unknown one."""
    schemas = event_schemas(source, "#/$defs/")
    own = schemas[EVENT_TYPES[event_type].__name__]
    parts = {name: schemas[name] for name in sorted(_reached(own, schemas))}
    head: Schema = {"$schema": DIALECT, "$id": event_urn(event_type)}
    return {**head, **own, **({"$defs": parts} if parts else {})}


def _anything(_: type) -> Schema:
    """Return the schema of `object`; msgspec does not take an empty one."""
    return {"description": "Any JSON."}


def _explained(name: str, schema: Schema, said: dict[str, str]) -> Schema:
    properties = {
        field: _described(field_schema, _words(name, field, said))
        for field, field_schema in _properties(schema).items()
    }
    return {**_described(schema, said.get(name)), "properties": properties}


def _words(name: str, field: str, said: dict[str, str]) -> str | None:
    """Return what a field means; of a policy's fields what a submit accepts, too.

    That is no constraint: readers bound what was stored unchecked.
    """
    words = said.get(f"{name}.{field}") or said.get(f"Fact.{field}")
    if name != "Policy":
        return words
    return f"{words} Submit accepts {one_of(field) if field in WORDS else RANGES[field]}."


def _described(schema: Schema, words: str | None) -> Schema:
    """Return the schema with its description in front of the constraints."""
    if not words:
        return schema
    head: Schema = {"title": schema["title"]} if "title" in schema else {}
    return {**head, "description": words, **{k: v for k, v in schema.items() if k not in DOCUMENTS}}


DOCUMENTS = ("title", "description")


def _pin(schema: Schema, event_type: str) -> None:
    """Allow one type and the one version of it that is written today, in place."""
    version, properties = current_version(event_type), _properties(schema)
    properties["type"] = {"description": "What happened.", "const": event_type}
    said = properties["v"]["description"]
    properties["v"] = {"description": said, "type": "integer", "const": version}
    if version == 1:
        # An event without a version is of version 1.
        properties["v"]["default"] = 1
    else:
        schema["required"] = [*_strings(schema["required"]), "v"]


def _properties(schema: Schema) -> dict[str, Schema]:
    properties = schema["properties"]
    assert isinstance(properties, dict)
    return properties


def _strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return value


def _reached(schema: object, schemas: dict[str, Schema]) -> Iterable[str]:
    """Return the names that a schema refers to, and those that these refer to."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        fresh = {name for name in _referred(waiting.pop()) if name not in found}
        found |= fresh
        waiting += [schemas[name] for name in fresh]
    return found


def _referred(value: object) -> Iterator[str]:
    match value:
        case {"$ref": str(reference)}:
            yield reference.rpartition("/")[2]
        case dict():
            for inner in value.values():
                yield from _referred(inner)
        case list():
            for inner in value:
                yield from _referred(inner)
