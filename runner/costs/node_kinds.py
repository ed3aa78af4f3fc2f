"""Which nodes cost the same: those with equal settings, fed by equal nodes, and those of a class.

Rule: pure and total. Seeds, texts and other inputs that change from job to job and cost nothing
are left out, so that the next job of the same workflow finds what this one has taught. A graph of
more than MOST_NODES nodes has no kinds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from hashlib import blake2b

from msgspec import Struct

from everfold.runner.loose_json import as_object, as_text

MOST_NODES = 1_000
TEXT_LIMIT = 200
"""Characters of a class or setting that count."""

CHANGING = ("seed", "cfg", "strength", "guidance", "color")
"""Numbers with such a word in their name cost nothing."""
CHOICES = ("sampler", "scheduler", "type", "weight_dtype", "upscale_method", "device", "mode")
"""Texts that are choices, besides those whose name ends with `_name`, such as models."""

SIDES, COUNTS = ("width", "height"), ("batch_size", "length", "frames", "num_frames")
LEAST_MEGAPIXELS, MOST_MEGAPIXELS = 0.001, 1e6


class NodeKind(Struct, frozen=True):
    """What the cost of one node is found by."""

    same_work: bytes
    """Digest of its class and settings, and of those of all nodes that feed it."""
    same_class: bytes
    megapixels: float
    """Of what it works on, all pictures together; 0 where the graph does not tell."""


def read_kinds(graph: Mapping[str, object]) -> dict[str, NodeKind]:
    """Return the kind of each node of an API-format graph."""
    if len(graph) > MOST_NODES:
        return {}
    kinds: dict[str, NodeKind] = {}
    for name in _sources_first(graph):
        node = as_object(graph[name])
        kinds[name] = _kind(node, kinds)
    return kinds


def _sources_first(graph: Mapping[str, object]) -> list[str]:
    """Return the nodes in an order in which those that feed a node stand before it; nodes of a
    circle stand somewhere."""
    order, seen = dict[str, None](), set[str]()
    for start in graph:
        path = [start]
        while path:
            name = path[-1]
            sources = [] if name in seen else [link for _, link in _links(graph[name])]
            seen.add(name)
            fresh = [link for link in sources if link in graph and link not in seen]
            if fresh:
                path.extend(fresh)
            else:
                order[path.pop()] = None
    return list(order)


def _links(node: object) -> Iterator[tuple[str, str]]:
    for name, value in as_object(as_object(node).get("inputs")).items():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
            yield name, value[0]


def _kind(node: Mapping[str, object], kinds: Mapping[str, NodeKind]) -> NodeKind:
    class_type = as_text(node.get("class_type"))[:TEXT_LIMIT]
    inputs = as_object(node.get("inputs"))
    sources = [(name[:TEXT_LIMIT], kinds[link]) for name, link in _links(node) if link in kinds]
    settings = [setting for item in inputs.items() if (setting := _setting(*item)) is not None]
    fed_by = [(name, source.same_work) for name, source in sources]
    return NodeKind(
        same_work=_digest(class_type, sorted(settings), sorted(fed_by)),
        same_class=_digest(class_type),
        megapixels=_megapixels(inputs, [source.megapixels for _, source in sources]),
    )


def _digest(*words: object) -> bytes:
    return blake2b(repr(words).encode(errors="replace"), digest_size=8).digest()


def _setting(name: str, value: object) -> tuple[str, str] | None:
    name = name[:TEXT_LIMIT]
    if isinstance(value, int | float):
        is_changing = any(word in name for word in CHANGING)
        return None if is_changing or abs(value) > 2**64 else (name, repr(value))
    if isinstance(value, str) and (name.endswith("_name") or name in CHOICES):
        return name, value[:TEXT_LIMIT]
    return None


def _megapixels(inputs: Mapping[str, object], fed: list[float]) -> float:
    sides, scale = [_number(inputs.get(name)) for name in SIDES], _number(inputs.get("scale_by"))
    if all(sides):
        counts = [_number(inputs.get(name)) or 1.0 for name in COUNTS]
        found = math.prod(sides) * math.prod(counts) / 1e6
    else:
        found = max(fed, default=0.0) * (scale or 1.0) ** 2
    return min(max(found, LEAST_MEGAPIXELS), MOST_MEGAPIXELS) if found else 0.0


def _number(value: object) -> float:
    """Return a positive number of a size that makes sense, else 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value <= 1e6 else 0.0  # type: ignore[operator, arg-type]
