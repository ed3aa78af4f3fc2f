"""Which inputs of a graph name stored files, and the graph with a server's own names for them.

Rule: pure and total; a graph may be anything. The forms are `everfold:<id>`, `blake3:<hash>` and
the object of the Comfy API v2, {"__type": "core/ASSET", "info": {"id", "hash"}}: anywhere within
the value of an input. A text that only begins like one is a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from everfold.streams.assets.asset import HASH_PREFIX, REFERENCE, check_asset_id, check_hash
from everfold.streams.errors import InvalidName
from everfold.streams.events.event import AssetInput
from everfold.streams.events.limits import NESTING_LIMIT

TYPE = "__type"
ASSET_TYPE = "core/ASSET"


_MARKS = (REFERENCE.encode(), HASH_PREFIX.encode(), ASSET_TYPE.encode())


def names_files(graph: bytes) -> bool:
    """Say whether the JSON of a graph may have a reference; False where it certainly has none."""
    return any(mark in graph for mark in _MARKS)


class Reference(Struct, frozen=True):
    """One mention of a stored file in a graph."""

    place: str
    """Node, dot, input: 10.image; within a list or an object of it, 10.images[0] or 10.set.first.
    """
    asset: str = ""
    """The asset's id; empty where only its bytes are named."""
    hash: str = ""
    """`blake3:<hex>`, empty where it is not told."""
    fault: str = ""
    """Why it names nothing, in words; else empty."""

    def means(self, found: AssetInput) -> bool:
        """Say whether it names this file."""
        by_id = self.asset == found.asset
        return not self.fault and (by_id if self.asset else self.hash == found.hash)


def find_references(graph: Mapping[str, object]) -> list[Reference]:
    """Return all references of an API-format graph, in its order. A place may be there twice."""
    return [
        found
        for node_id, inputs in _nodes(graph)
        for name, value in inputs.items()
        for found in _within(f"{node_id}.{name}", value, NESTING_LIMIT)
    ]


def reference_of(value: object, place: str = "") -> Reference | None:
    """Return what a value refers to; None for one that is no reference."""
    if isinstance(value, str):
        return _of_text(value, place)
    if isinstance(value, Mapping) and value.get(TYPE) == ASSET_TYPE:
        return _of_object(value.get("info"), place)
    return None


def has_reference(value: object) -> bool:
    """Say whether the value of an input is a reference, or has one within it."""
    return next(_within("", value, NESTING_LIMIT), None) is not None


def with_uploads(graph: Mapping[str, object], uploads: Mapping[str, str]) -> dict[str, object]:
    """Return the graph with the references at these places replaced by the server's names."""
    changed = dict(graph)
    for node_id, inputs in _nodes(graph):
        node = changed[node_id]
        assert isinstance(node, Mapping)
        sent = {
            name: _replaced(f"{node_id}.{name}", value, uploads, NESTING_LIMIT)
            for name, value in inputs.items()
        }
        changed[node_id] = {**node, "inputs": sent}
    return changed


def _nodes(graph: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    for node_id, node in graph.items():
        inputs = node.get("inputs") if isinstance(node, Mapping) else None
        if isinstance(inputs, Mapping):
            yield node_id, inputs


def _within(place: str, value: object, levels: int) -> Iterator[Reference]:
    found = reference_of(value, place)
    if found is not None:
        yield found
    elif levels:
        for inner, part in _parts(place, value):
            yield from _within(inner, part, levels - 1)


def _parts(place: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, list | tuple):
        yield from ((f"{place}[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, Mapping):
        yield from ((f"{place}.{name}", part) for name, part in value.items())


def _replaced(place: str, value: object, uploads: Mapping[str, str], levels: int) -> object:
    if reference_of(value) is not None:
        return uploads.get(place, value)
    if not levels:
        return value
    parts = [_replaced(*inner, uploads, levels - 1) for inner in _parts(place, value)]
    if isinstance(value, Mapping):
        return dict(zip(value, parts, strict=True))
    return parts if isinstance(value, list | tuple) else value


def _of_text(text: str, place: str) -> Reference | None:
    try:
        if text.startswith(REFERENCE):
            return Reference(place, asset=check_asset_id(text))
        return Reference(place, hash=check_hash(text))
    except InvalidName:
        return None


def _of_object(info: object, place: str) -> Reference:
    known: Mapping[object, object] = info if isinstance(info, Mapping) else {}
    asset, content_hash = known.get("id") or "", known.get("hash") or ""
    try:
        return Reference(
            place,
            asset=check_asset_id(asset) if asset else "",
            hash=check_hash(content_hash) if content_hash else "",
            fault="" if asset or content_hash else f"its {ASSET_TYPE} has no id",
        )
    except InvalidName as error:
        return Reference(place, fault=str(error))
