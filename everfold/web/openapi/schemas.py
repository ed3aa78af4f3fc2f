"""The JSON Schemas of what is sent and answered, from the msgspec types of the rows.

Rule: the words are the docstrings of the classes and of their fields, read from their sources.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import cache

import msgspec
from msgspec.inspect import Type

from everfold.contract.docstrings import docstrings, one_line
from everfold.streams.errors import Misconfigured

Schema = dict[str, object]

REFERENCE = "#/components/schemas/{name}"


class Schemas:
    """The schemas of some types: each by itself, and the parts to which they refer."""

    def __init__(self, types: Iterable[object]) -> None:
        kinds = [*types]
        found, parts = msgspec.json.schema_components(
            kinds, schema_hook=_anything, ref_template=REFERENCE
        )
        self._found = list(zip(kinds, found, strict=True))
        classes = _named(_structs(kinds))
        self.parts = {name: _told(parts[name], classes.get(name)) for name in sorted(parts)}

    def of(self, kind: object) -> Schema:
        """Return the schema of one of the types."""
        return next(dict(schema) for one, schema in self._found if one is kind or one == kind)


def _anything(_: type) -> Schema:
    """Return the schema of `object`; msgspec does not take an empty one."""
    return {"description": "Any JSON."}


def _structs(kinds: Iterable[object]) -> set[type]:
    found, waiting = set[type](), list[object](msgspec.inspect.multi_type_info(kinds))
    while waiting:
        one = waiting.pop()
        if isinstance(one, msgspec.inspect.StructType):
            if one.cls in found:
                continue
            found.add(one.cls)
            waiting += [field.type for field in one.fields]
        elif isinstance(one, Type):
            waiting += _inner(one)
    return found


def _inner(kind: Type) -> Iterator[object]:
    """Yield the types in a list, a dictionary or a union."""
    for name in kind.__struct_fields__:
        value = getattr(kind, name)
        if isinstance(value, Type):
            yield value
        elif isinstance(value, tuple):
            yield from (one for one in value if isinstance(one, Type))


def _named(classes: Iterable[type]) -> dict[str, type]:
    """Return the name of each class in the document, as msgspec gives them."""
    chosen = [*classes]
    names = [one.__name__ for one in chosen]
    return {
        one.__name__
        if names.count(one.__name__) == 1
        else f"{one.__module__}.{one.__qualname__}": one
        for one in chosen
    }


def _told(schema: Schema, kind: type | None) -> Schema:
    """Return a schema with what the class says of itself and of its fields."""
    if kind is None:
        return schema
    words = dict[str, str]()
    for base in reversed(kind.__mro__):
        said = _docstrings(base.__module__) if base.__module__.startswith("everfold") else {}
        prefix = f"{base.__name__}."
        words |= {
            name.removeprefix(prefix): told
            for name, told in said.items()
            if name.startswith(prefix) and told
        }
    told = dict(schema)
    if about := one_line(kind.__doc__ or ""):
        told["description"] = about
    properties = schema.get("properties")
    if isinstance(properties, dict):
        named = _encoded_names(kind)
        told["properties"] = {
            str(name): _described(one, words.get(named.get(str(name), ""), ""))
            for name, one in properties.items()
        }
    return told


def _encoded_names(kind: type) -> dict[str, str]:
    """Return the field of a class by its name in JSON."""
    fields: tuple[msgspec.structs.FieldInfo, ...] = msgspec.structs.fields(kind)
    return {field.encode_name: field.name for field in fields}


def _described(schema: Schema, words: str) -> Schema:
    return {**schema, "description": words} if words else schema


@cache
def _docstrings(module: str) -> dict[str, str]:
    try:
        return docstrings(inspect.getsource(sys.modules[module]))
    except OSError as error:
        raise Misconfigured(
            f"the source of {module} is not installed, and the descriptions are in it"
        ) from error
