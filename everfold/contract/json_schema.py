"""JSON Schema of every event, with the words that stand in streams/events.py.

Rule: generated and never written by hand. Unknown fields are allowed everywhere, for a reader
ignores them; a field with a default need not be there.
"""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Mapping
from typing import cast, get_args

import msgspec

from streams import events
from streams.errors import Misconfigured
from streams.events import Event

Schema = dict[str, object]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ROOT = "urn:everfold:events"

REFS = "#/$defs/{name}"


def event_kinds() -> dict[str, type]:
    """Return the class of each event type, in the order of a job's life."""
    return {str(kind.__struct_config__.tag): kind for kind in get_args(Event)}


def schema_of_all() -> Schema:
    """Return one schema for any event: which one it is, its `type` says."""
    definitions = _definitions(REFS)
    return {
        "$schema": DIALECT,
        "$id": ROOT,
        "title": "An event of Everfold",
        "description": "What happened to a ComfyUI job: field `d` of an entry of the log.",
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in event_kinds().values()],
        "$defs": definitions,
    }


def schema_of(name: str) -> Schema:
    """Return the schema of one event type. Raises Misconfigured for one that does not exist."""
    kinds = event_kinds()
    whole = name if name.startswith("job.") else f"job.{name}"
    if whole not in kinds:
        near = difflib.get_close_matches(whole, kinds, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(kinds)}"
        raise Misconfigured(f"there is no event type {name!r}; {hint}")
    definitions = _definitions(REFS)
    own = cast("Schema", definitions.pop(kinds[whole].__name__))
    needed = _needed(own, definitions)
    return {"$schema": DIALECT, "$id": urn(whole), **own, **({"$defs": needed} if needed else {})}


def urn(event_type: str) -> str:
    """Return the name of an event type's schema."""
    return f"{ROOT}:{event_type}"


def _needed(schema: object, definitions: Mapping[str, object]) -> dict[str, object]:
    """Return the definitions that a schema refers to, and those that these refer to."""
    found: dict[str, object] = {}
    left = [schema]
    while left:
        match left.pop():
            case dict(part):
                name = str(part.get("$ref", "")).rpartition("/")[2]
                if name in definitions and name not in found:
                    found[name] = definitions[name]
                    left.append(definitions[name])
                left += part.values()
            case list(parts):
                left += parts
    return dict(sorted(found.items()))


def _definitions(refs: str) -> dict[str, object]:
    _, components = msgspec.json.schema_components(
        get_args(Event), schema_hook=_anything, ref_template=refs
    )
    told = _field_words()
    for name, component in components.items():
        properties = cast("dict[str, Schema]", component.get("properties", {}))
        for field, words in told.get(name, {}).items():
            if field in properties:
                properties[field] = {**properties[field], "description": words}
        if "type" in properties:  # the tag: msgspec writes it as an enum of one
            properties["type"] = {"const": properties["type"]["enum"][0]}  # type: ignore[index]
    return dict(sorted(components.items()))


def _anything(kind: type) -> Schema:
    """Return the schema of values that may be any JSON."""
    assert kind is object
    return {"description": "Any JSON value."}


def _field_words() -> dict[str, dict[str, str]]:
    """Return what stands below each field of each class, inherited ones included."""
    tree = ast.parse(inspect.getsource(events))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    own = {name: _words_in(node) for name, node in classes.items()}
    return {name: {**own["Fact"], **words} for name, words in own.items()}


def _words_in(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for statement, following in zip(node.body, node.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            match following:
                case ast.Expr(value=ast.Constant(value=str(words))):
                    found[statement.target.id] = " ".join(words.split())
    return found
