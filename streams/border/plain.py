"""Structs that a web framework can answer with: as plain values, and as types of pydantic.

Rule: pure. Pydantic is not needed: what it asks for are dictionaries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

Schema = dict[str, object]


class Plain:
    """Beside `Struct` among the bases of a class."""

    __slots__ = ()

    def to_dict(self) -> dict[str, object]:
        """Return it as plain values, which `json.dumps` takes, by the names of its fields."""
        return cast("dict[str, object]", msgspec.to_builtins(self))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> Schema:
        """Let pydantic and FastAPI take it as a type of fields and answers."""
        return {  # as pydantic_core.core_schema would make it
            "type": "function-plain",
            "function": {"type": "no-info", "function": lambda value: _read(value, cls)},
            "serialization": {"type": "function-plain", "function": cls.to_dict},
            "ref": f"{cls.__module__}.{cls.__qualname__}:everfold",
        }

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: object, handler: Callable[[object], Schema]
    ) -> Schema:
        """Tell pydantic the JSON Schema of what `to_dict` returns."""
        return json_schema(cls)


def _read(value: object, kind: type[T]) -> T:
    """Return a value of this type, of one or of its plain values. Raises ValueError."""
    if isinstance(value, kind):
        return value
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def json_schema(kind: type) -> Schema:
    """Return the JSON Schema of a struct, complete in itself, without references."""
    (named,), parts = msgspec.json.schema_components(
        [kind], schema_hook=lambda _: {"description": "Any JSON."}, ref_template="{name}"
    )
    return cast("Schema", _whole(named, parts))


def _whole(part: object, parts: Mapping[str, object]) -> object:
    if isinstance(part, dict):
        if "$ref" in part:
            found = cast("Schema", _whole(parts[part["$ref"]], parts))
            return {**found, **{name: one for name, one in part.items() if name != "$ref"}}
        return {name: _whole(one, parts) for name, one in part.items()}
    return [_whole(one, parts) for one in part] if isinstance(part, list) else part
