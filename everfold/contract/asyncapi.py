"""The stream as an AsyncAPI 3 document: where it is, who sends what, who may listen.

Rule: generated; the events come from json_schema.py, the entry's fields from streams/record.py.
Source: asyncapi.com/docs/reference/specification/v3.0.0.
"""

from __future__ import annotations

from typing import cast

from everfold.contract.json_schema import Schema, event_kinds, schema_of_all

CONTRACT_VERSION = "1.0.0"

ENTRY_FIELDS = {
    "j": "id of the job",
    "s": "sequence number within the job: 1, 2, 3 ... without gap or repeat",
    "e": "epoch: the fencing token of the lease under which it was appended, 0 before the first",
    "p": "entry id of the job's previous event, 0-0 for the first",
    "d": "the event, as JSON",
}


def asyncapi() -> Schema:
    """Return the document."""
    schemas = cast("Schema", _with_refs(schema_of_all()["$defs"]))
    names = {kind: kind.removeprefix("job.") for kind in event_kinds()}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:everfold",
        "info": {
            "title": "Everfold",
            "version": CONTRACT_VERSION,
            "description": (
                "Every change in the life of a ComfyUI job, as an entry of a Redis Stream. "
                "Unknown fields are to be ignored, and an unknown type of event is to stop the "
                "reading of its job. How to consume it from any language: docs/CONSUMING.md."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "redis": {
                "host": "localhost:6379",
                "protocol": "redis",
                "description": "Redis 7.0 or newer, or Valkey 8 or newer.",
            }
        },
        "channels": {"log": _log(names)},
        "operations": _operations(names),
        "components": {
            "messages": {name: _message(kind, event_kinds()[kind]) for kind, name in names.items()},
            "schemas": {**schemas, "Entry": _entry()},
        },
    }


def _log(names: dict[str, str]) -> Schema:
    return {
        "address": "{{namespace}:{partition}}:log",
        "title": "The log of one partition",
        "description": (
            "A Redis Stream, to be read with XREADGROUP, XREAD or XRANGE. The braces around "
            "namespace and partition are part of the key, such as {everfold:0}:log: they keep the "
            "keys of a partition together. A job's partition is the CRC-32 of its id modulo the "
            "number of partitions, the field `partitions` of the hash everfold:meta."
        ),
        "parameters": {
            "namespace": {"description": "everfold, unless it was chosen", "default": "everfold"},
            "partition": {"description": "From 0 to one less than there are partitions."},
        },
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names.values()},
    }


def _operations(names: dict[str, str]) -> Schema:
    messages = [{"$ref": f"#/channels/log/messages/{name}"} for name in names.values()]
    return {
        "consume": {
            "action": "send",
            "channel": {"$ref": "#/channels/log"},
            "summary": "Everfold sends; every consumer group on the stream gets each entry once.",
            "messages": messages,
        },
        "produce": {
            "action": "receive",
            "channel": {"$ref": "#/channels/log"},
            "summary": "Runner processes append, by the scripts only: see docs/PRODUCING.md.",
            "messages": messages,
        },
    }


def _message(kind: str, event: type) -> Schema:
    words = " ".join((event.__doc__ or "").split())
    return {
        "name": kind,
        "title": kind,
        "summary": words,
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/Entry"},
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
    }


def _entry() -> Schema:
    described: Schema = {
        field: {"type": "string", "description": words} for field, words in ENTRY_FIELDS.items()
    }
    return {
        "type": "object",
        "description": "The fields of an entry; the payload is that of `d`. Ignore others.",
        "required": list(ENTRY_FIELDS),
        "properties": described,
    }


def _with_refs(value: object) -> object:
    """Return a schema with its references where AsyncAPI keeps schemas."""
    match value:
        case dict():
            return {
                name: str(part).replace("#/$defs/", "#/components/schemas/")
                if name == "$ref"
                else _with_refs(part)
                for name, part in value.items()
            }
        case list():
            return [_with_refs(part) for part in value]
    return value
