"""A graph with some inputs changed, each typed as the graph has it.

Rule: pure. A node or an input that there is not is refused, with the nearest name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import msgspec

from everfold.streams.errors import InvalidName
from everfold.streams.events.checks import check_text
from everfold.streams.events.json_text import NotJson, decoder, read_json
from everfold.streams.events.json_values import write_json
from everfold.streams.events.limits import WORKFLOW_LIMIT_BYTES

_decode = decoder(dict[str, dict[str, object]])
_decode_changes = decoder(dict[str, object])


def check_changes(changes: object) -> dict[str, object]:
    """Return a plain copy of changes. Raises InvalidName for what is no mapping, or no JSON."""
    named = isinstance(changes, Mapping) and all(isinstance(name, str) for name in changes)
    if not named or not isinstance(changes, Mapping):
        raise InvalidName("changes", changes, 'pass a mapping such as {"3.seed": 7}')
    try:
        return _decode_changes(write_json(changes))
    except NotJson as error:
        raise InvalidName("changes", changes, f"they cannot be written as JSON: {error}") from error


def changed_graph(graph: bytes, changes: Mapping[str, object]) -> bytes:
    """Return the graph's JSON with changes such as {"3.seed": 7}.

    A text that is given for another type is read as that type. Raises InvalidName for what the
    graph does not have, and for a value of another type.
    """
    nodes = _decode(graph.decode())
    for place, value in changes.items():
        inputs, name = _inputs(nodes, place)
        inputs[name] = _typed(place, value, inputs[name])
    return msgspec.json.encode(nodes)


def _inputs(nodes: Mapping[str, dict[str, object]], place: str) -> tuple[dict[str, object], str]:
    node, _, name = check_text("change", place, most=WORKFLOW_LIMIT_BYTES).partition(".")
    if node not in nodes:
        raise InvalidName("change", place, f"no node {node!r}{_nearest(node, nodes)}")
    inputs = nodes[node].get("inputs")
    if not isinstance(inputs, dict) or name not in inputs:
        known = inputs if isinstance(inputs, dict) else ()
        raise InvalidName(
            "change", place, f"node {node} has no input {name!r}{_nearest(name, known)}"
        )
    return inputs, name


def _nearest(wrong: str, names: Iterable[str]) -> str:
    known = sorted(names)
    if near := difflib.get_close_matches(wrong, known, n=1, cutoff=0.6):
        return f"; did you mean {near[0]}?"
    return f"; there are {', '.join(known[:20])}" if known else ""


def _typed(place: str, value: object, old: object) -> object:
    """Return a new value as the old one's type has it."""
    if isinstance(value, str) and not isinstance(old, str):
        try:
            value = read_json(value)
        except NotJson as error:
            raise InvalidName(place, value, f"the graph has {_kind(old)} there") from error
    if old is not None and _kind(old) != _kind(value):
        raise InvalidName(place, value, f"the graph has {_kind(old)} there")
    return value


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
    return "nothing"
