"""What a ComfyUI server has: its node classes, their inputs and outputs, and lists of choices.

Rule: pure and total. A body may hold anything; what makes no sense is left out, and a class keeps
what does. Texts for people are left out: what stays is what says whether a graph can run there. The
whole body goes with it, packed, for clients that show it to people.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import cast

import msgspec
from msgspec import Raw, Struct

from everfold.runner.loose_json import (
    TooManyValues,
    as_list,
    as_name,
    as_object,
    as_text,
    read,
    refuse_more_values,
)
from everfold.streams.events.json_text import UNDECODABLE

BODY_LIMIT_BYTES = 64 * 2**20
"""A larger body is not read: 894 classes have 3 MB."""
MOST_VALUES = 2_000_000
"""Of a whole body: lists of thousands of model files stand in each class that takes one."""
MOST_CLASSES = 50_000
PACKED_LIMIT_BYTES = 8 * 2**20
"""Of a packed body that is kept for clients; 894 classes have 0.3 MB."""
TEXT_LIMIT = 200
"""Characters of a text among the options; longer ones are examples and explanations."""
CHOICE_LIMIT = 1_000
"""Characters of one choice; nobody can choose a longer one."""

COMBO = "COMBO"
DYNAMIC = "COMFY_"
"""Begins the types of inputs that stand for others, which only the server can name."""

CORE_MODULES = ("nodes", "comfy_extras.")
"""Nodes of other modules often have checks of their own, which replace those by list and range."""

Choice = str | int | float | bool
Kind = str | int
"""A type by its name, or the place of a list of choices in `ObjectInfo.lists`."""


class Input(Struct, frozen=True, omit_defaults=True, array_like=True):
    """One input of a node class."""

    name: str
    kind: Kind
    options: dict[str, object] = {}
    """As the server gives them, such as `min` and `max`."""
    choices: int | None = None
    """The place of its choices in `ObjectInfo.lists`; None where any value may come."""
    is_open: bool = False
    """Values beyond its choices and its range may be accepted: the node checks them itself."""

    @property
    def is_dynamic(self) -> bool:
        """Say whether it stands for other inputs, so that nothing can be said of it here."""
        return isinstance(self.kind, str) and self.kind.startswith(DYNAMIC)


class NodeClass(Struct, frozen=True, omit_defaults=True, array_like=True, dict=True):
    """What a node of one class takes and gives."""

    required: tuple[Input, ...] = ()
    optional: tuple[Input, ...] = ()
    returns: tuple[Kind, ...] = ()
    """The types of its outputs, by slot."""
    is_output: bool = False
    is_custom: bool = False
    """It may have checks of its own, of which the server tells nothing."""

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """The inputs by name, without those that stand for others."""
        every = {one.name: one for one in (*self.required, *self.optional)}
        return {name: one for name, one in every.items() if not one.is_dynamic}

    @cached_property
    def required_names(self) -> frozenset[str]:
        return frozenset(one.name for one in self.required)


class Described(Struct, frozen=True):
    """The body of GET /object_info, as strict JSON."""

    hash: str
    """SHA-256 of the body, in hex."""
    packed: bytes
    """The body, as zlib packs it."""


class ObjectInfo(Struct, frozen=True, dict=True):
    """The node classes of one server."""

    classes: dict[str, NodeClass]
    lists: tuple[tuple[Choice, ...], ...] = ()
    """Each list of choices once, however many inputs have it."""
    described: Described | None = None
    """What it was read from; None where that is too large, and for one that was stored."""

    @cached_property
    def encoded(self) -> bytes:
        """Its JSON, which `decode` reads."""
        return msgspec.json.encode({"classes": self.classes, "lists": self.lists})

    @cached_property
    def hash(self) -> str:
        """SHA-256 of its content, in hex: two servers that have the same have the same."""
        return hashlib.sha256(self.encoded).hexdigest()

    @cached_property
    def names(self) -> tuple[frozenset[str], ...]:
        """The texts of each list, with "/" between folders: a server on Windows lists "\\"."""
        return tuple(
            frozenset(one.replace("\\", "/") for one in choices if isinstance(one, str))
            for choices in self.lists
        )


class Lists:
    """Collects lists of choices, each once."""

    def __init__(self) -> None:
        self._places: dict[tuple[object, ...], int] = {}
        self._lists: list[tuple[Choice, ...]] = []

    def place_of(self, choices: tuple[Choice, ...]) -> int:
        """Return the place of a list, added when it is new."""
        # 1, 1.0 and True are equal in Python.
        key = (*choices, *map(type, choices))
        if key not in self._places:
            self._places[key] = len(self._lists)
            self._lists.append(choices)
        return self._places[key]

    def all(self) -> tuple[tuple[Choice, ...], ...]:
        return tuple(self._lists)


_CLASSES = msgspec.json.Decoder(dict[str, Raw])
_STORED = msgspec.json.Decoder(ObjectInfo)


def decode(stored: bytes) -> ObjectInfo | None:
    """Return what `ObjectInfo.encoded` was made of; None for anything else."""
    try:
        found = _STORED.decode(stored)
    except UNDECODABLE:
        return None
    most = len(found.lists)
    return found if all(_is_sound(one, most) for one in found.classes.values()) else None


def _is_sound(node_class: NodeClass, most: int) -> bool:
    inputs = (*node_class.required, *node_class.optional)
    places = [one.choices for one in inputs if one.choices is not None]
    places += [
        kind for kind in (*node_class.returns, *(i.kind for i in inputs)) if type(kind) is int
    ]
    return all(0 <= place < most for place in places)


def read_object_info(body: bytes) -> ObjectInfo:
    """Return what the body of GET /object_info says.

    Raises ValueError when it is no object of classes, TooManyValues, which is one, when it is
    larger than is read.
    """
    if len(body) > BODY_LIMIT_BYTES:
        raise TooManyValues(f"it has {len(body):,} bytes; at most {BODY_LIMIT_BYTES:,} are read")
    refuse_more_values(body, MOST_VALUES)
    lists = Lists()
    described = sorted(_described(body), key=lambda one: one[0])
    classes = {name: _node_class(value, lists) for name, value in described if value}
    if not classes:
        raise ValueError("it lists no node class")
    return ObjectInfo(classes, lists.all(), _packed(body))


def _packed(body: bytes) -> Described | None:
    try:
        _CLASSES.decode(body)
    except UNDECODABLE:
        body = msgspec.json.encode(read(body, MOST_VALUES))
    packed = zlib.compress(body)
    if len(packed) > PACKED_LIMIT_BYTES:
        return None
    return Described(hashlib.sha256(body).hexdigest(), packed)


def _described(body: bytes) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each class with its description, one at a time where the body is strict JSON."""
    try:
        raw = _CLASSES.decode(body)
    except UNDECODABLE:
        whole = as_object(read(body, MOST_VALUES))
        _refuse_more_classes(len(whole))
        yield from ((as_name(name), as_object(value)) for name, value in whole.items())
        return
    _refuse_more_classes(len(raw))
    for name, value in raw.items():
        try:
            yield as_name(name), as_object(read(bytes(value), MOST_VALUES))
        except ValueError:
            continue


def _refuse_more_classes(count: int) -> None:
    if count > MOST_CLASSES:
        raise TooManyValues(f"it has {count:,} classes; at most {MOST_CLASSES:,} are read")


def _node_class(described: dict[str, object], lists: Lists) -> NodeClass:
    module, inputs = as_text(described.get("python_module")), as_object(described.get("input"))
    return NodeClass(
        required=_inputs(inputs.get("required"), lists),
        optional=_inputs(inputs.get("optional"), lists),
        returns=tuple(_kind(kind, lists) for kind in as_list(described.get("output"))),
        is_output=described.get("output_node") is True,
        is_custom=not (module == CORE_MODULES[0] or module.startswith(CORE_MODULES[1])),
    )


def _inputs(group: object, lists: Lists) -> tuple[Input, ...]:
    specs = as_object(group).items()
    return tuple(_input(as_name(name), as_list(spec), lists) for name, spec in specs)


def _input(name: str, spec: list[object], lists: Lists) -> Input:
    kind: object = spec[0] if spec else ""
    options = as_object(spec[1]) if len(spec) > 1 else {}
    listed = kind if isinstance(kind, list) else options.get("options") if kind == COMBO else None
    # A combo whose choices the browser fetches, or of which several may be chosen, is no list.
    is_fetched = any(word in option for option in options for word in ("remote", "multiselect"))
    choices = None if is_fetched or not isinstance(listed, list) else _choices(listed)
    return Input(
        name=name,
        kind=_kind(kind, lists),
        options=dict(_kept(options)),
        choices=None if choices is None else lists.place_of(choices),
        is_open=_is_open(name, options),
    )


def _kind(kind: object, lists: Lists) -> Kind:
    if isinstance(kind, list):
        return lists.place_of(_choices(kind))
    return as_name(kind)


def _choices(values: Iterable[object]) -> tuple[Choice, ...]:
    return tuple(cast("Choice", one) for one in values if _is_choice(one, CHOICE_LIMIT))


def _kept(options: dict[str, object]) -> Iterator[tuple[str, Choice]]:
    for name, value in options.items():
        is_read = name != "tooltip" and len(name) <= TEXT_LIMIT
        if is_read and _is_choice(value, TEXT_LIMIT):
            yield name, cast("Choice", value)


def _is_choice(value: object, limit: int) -> bool:
    """Say whether a value is a short text, or a number that strict JSON can hold."""
    if isinstance(value, str):
        return len(value) <= limit
    return isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**64)


def _is_open(name: str, options: dict[str, object]) -> bool:
    """Say whether the input takes an uploaded file, which may have come after the list."""
    return name == "latent" or any(option.endswith("_upload") for option in options)
