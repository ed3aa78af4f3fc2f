"""The contract's documents as values, the golden events, and what a change makes of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from everfold.contract import documents

DATA = Path(__file__).parents[2] / "data"
GOLDEN = {path.stem: json.loads(path.read_text()) for path in (DATA / "events").glob("*.json")}
"""Name, such as job.succeeded.v1 -> event."""

OTHERS: list[object] = [None, "text", 7, -0.5, True, [], ["text"], {}, {"text": 7}]
"""One value at least of each JSON type."""

Json = Any
"""A document that a test looks into."""


def events_schema() -> Json:
    return json.loads(documents.json_schema())


def asyncapi() -> Json:
    return json.loads(documents.asyncapi())


def changed(event: Json) -> Iterator[Json]:
    """Yield the event with each of its values, however deep, left out or another one."""
    for path in _paths(event):
        for other in OTHERS:
            mutant = copy.deepcopy(event)
            _at(mutant, path[:-1])[path[-1]] = other
            yield mutant
        mutant = copy.deepcopy(event)
        del _at(mutant, path[:-1])[path[-1]]
        yield mutant


def _at(value: Json, path: tuple[str | int, ...]) -> Json:
    for step in path:
        value = value[step]
    return value


def _paths(value: Json) -> Iterator[tuple[str | int, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    for step, inner in steps:
        yield (step,)
        if isinstance(inner, dict | list):
            yield from ((step, *path) for path in _paths(inner))


def references(value: Json) -> Iterator[str]:
    """Yield every `$ref` of a document."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolved(document: Json, reference: str) -> Json:
    """Return what a reference within the document points at. KeyError for one to nowhere."""
    assert reference.startswith("#/"), reference
    return _at(document, tuple(reference.removeprefix("#/").split("/")))
