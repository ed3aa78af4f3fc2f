"""Builds the AsyncAPI 3.0 document of the log: its keys, who writes what, the fields of an entry.

Rule: pure. AsyncAPI's binding for Redis knows no streams: an entry's fields are the headers of each
message, its field `d` is the payload, and `x-redis-stream` repeats that.
Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

from everfold.contract.docstrings import docstrings, one_line
from everfold.contract.json_schema import CONTRACT_VERSION, EVENT_TYPES, Schema, event_schemas
from everfold.streams.events.event import Submitted
from everfold.streams.events.record import FIELDS

SUBMITTED = str(Submitted.__struct_config__.tag)

ATTRIBUTES = {"j": "job_id", "s": "seq", "e": "epoch", "p": "previous", "d": "payload"}
"""Field of an entry -> the attribute of `Recorded` that it becomes."""

MEANING = {
    "j": "Job id.",
    "s": "Sequence number.",
    "e": "Epoch.",
    "p": "Previous entry.",
    "d": "",
}

PATTERNS = {"s": "^[1-9][0-9]*$", "e": "^[0-9]+$", "p": "^[0-9]+-[0-9]+$"}

ABOUT = one_line("""
Everfold keeps every change of a ComfyUI job as an event in a Redis Stream. This document says where
the streams are and what their entries hold. Fields that a program does not know are to be ignored:
new ones may appear at any time. The same schemas on their own: `everfold schema json`.
""")

STREAM = one_line("""
A Redis Stream, one for each partition: read it with XREAD, XRANGE or a consumer group of your
own. A job's partition is `crc32(job id) % partitions`; the hash `<namespace>:meta`, on Redis
Cluster `{<namespace>}:meta`, has their number (`partitions`) and their hash tags (`tags`). The
events of one job are in order, `s` counts them; the time of an event is that of its entry id.
""")

HASH_TAG = one_line("""
The hash tag that all keys of a partition begin with, braces included. Read it, do not make it:
`tags` of the hash `<namespace>:meta` is a JSON list of what stands between the braces, from
partition 0 on. The namespace is `everfold` unless another one was chosen. Where a namespace of an
older version has no `tags`, it is `{<namespace>:<partition>}`. It is one parameter because
AsyncAPI has no way to write a brace that belongs to the address itself.
""")

SCRIPTS = one_line("""
Never with XADD, but through the scripts in `streams/lua`, which number, chain and fence the events:
docs/PRODUCING.md.
""")


def asyncapi_document(events_source: str, record_source: str) -> Schema:
    """Return the document; the sources are those of event.py and record.py in streams/events."""
    said = docstrings(events_source)
    return {
        "asyncapi": "3.0.0",
        "id": "urn:everfold",
        "info": {
            "title": "Everfold's log of job events",
            "version": f"{CONTRACT_VERSION}.0.0",
            "description": ABOUT,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": {"redis": _server()},
        "channels": {"log": _channel(record_source)},
        "operations": _operations(),
        "components": {
            "messages": {
                event_type: _message(event_type, said[kind.__name__])
                for event_type, kind in EVENT_TYPES.items()
            },
            "schemas": {
                "Entry": _entry(record_source),
                **event_schemas(events_source, "#/components/schemas/"),
            },
        },
    }


def _server() -> Schema:
    return {
        "host": "{host}",
        "protocol": "redis",
        "description": "Redis 7.0 or newer, or Valkey 8 or newer; `rediss` with TLS.",
        "variables": {"host": {"description": "Host and port.", "default": "localhost:6379"}},
    }


def _channel(record_source: str) -> Schema:
    return {
        "address": "{hashTag}:log",
        "title": "The events of one partition",
        "description": STREAM,
        "servers": [{"$ref": "#/servers/redis"}],
        "parameters": {
            "hashTag": {"description": HASH_TAG, "examples": ["{everfold:0}", "{everfold:23}"]}
        },
        "messages": {
            event_type: {"$ref": f"#/components/messages/{event_type}"}
            for event_type in EVENT_TYPES
        },
        "x-redis-stream": {
            "key": "{<tag of the partition>}:log",
            "headers": [name for name in ATTRIBUTES if name != "d"],
            "payload": "d",
            "fields": _fields(record_source),
        },
    }


def _operations() -> Schema:
    told = [event_type for event_type in EVENT_TYPES if event_type != SUBMITTED]
    return {
        "submit": _operation("send", "A program submits a job.", SCRIPTS, [SUBMITTED]),
        "append": _operation(
            "send",
            "A runner process tells what happens; any program may ask for a cancel.",
            SCRIPTS,
            told,
        ),
        "read": _operation(
            "receive",
            "A consumer reads what happened.",
            "In order per job. An entry may be seen again after a consumer restarts: `id` tells.",
            list(EVENT_TYPES),
        ),
    }


def _operation(action: str, summary: str, description: str, event_types: list[str]) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/log"},
        "summary": summary,
        "description": description,
        "messages": [{"$ref": f"#/channels/log/messages/{each}"} for each in event_types],
    }


def _message(event_type: str, summary: str) -> Schema:
    name = EVENT_TYPES[event_type].__name__
    return {
        "name": event_type,
        "title": name,
        "summary": summary,
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/Entry"},
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }


def _entry(record_source: str) -> Schema:
    said = _fields(record_source)
    headers = [name.decode() for name in FIELDS if name != b"d"]
    return {
        "title": "Entry",
        "description": "The fields of an entry beside its event. Redis knows text only.",
        "type": "object",
        "properties": {
            name: {"description": said[name], "type": "string"}
            | ({"pattern": PATTERNS[name]} if name in PATTERNS else {})
            for name in headers
        },
        "required": headers,
    }


def _fields(record_source: str) -> dict[str, str]:
    said = docstrings(record_source)
    return {
        name: f"{MEANING[name]} {said.get(f'Recorded.{attribute}', '')}".strip()
        for name, attribute in ATTRIBUTES.items()
    }
