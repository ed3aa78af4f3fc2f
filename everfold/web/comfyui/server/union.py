"""The node classes of unlike servers as those of one: all classes, and all choices of each list.

Rule: pure and total. Of a class that several servers have, the first description counts, with the
choices of the others added: a graph that names one goes to a server that has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw, Struct

from everfold.runner.capabilities.object_info import COMBO
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.limits import BACKEND_NESTING

Description = dict[str, object]
"""What GET /object_info says of one class."""

_read_classes = decoder(dict[str, Raw], BACKEND_NESTING)
_read_class = decoder(dict[str, object], BACKEND_NESTING)


class Union(Struct, frozen=True):
    """The node classes of several servers."""

    encoded: dict[str, bytes]
    """Class -> its description as JSON."""
    uploads: dict[str, Description]
    """Those with an input that takes uploaded files: their choices are the caller's own files."""
    output_classes: frozenset[str]
    """The classes of output nodes."""


def union_of(bodies: Sequence[bytes]) -> Union:
    """Return the union of what servers answer to GET /object_info; a body that is none is left
    out."""
    raw = dict[str, list[bytes]]()
    for body in bodies:
        for name, value in _classes(body):
            known = raw.setdefault(name, [])
            if value not in known:
                known.append(value)
    encoded, uploads, outputs = dict[str, bytes](), dict[str, Description](), set[str]()
    for name, texts in raw.items():
        found = [one for one in map(_described, texts) if one]
        if not found:
            continue
        description = found[0] if len(found) == 1 else _merged(found)
        encoded[name] = texts[0] if len(found) == 1 else msgspec.json.encode(description)
        if upload_inputs(description):
            uploads[name] = description
        if description.get("output_node") is True:
            outputs.add(name)
    return Union(encoded, uploads, frozenset(outputs))


def _classes(body: bytes) -> Iterable[tuple[str, bytes]]:
    try:
        return [(name, bytes(value)) for name, value in _read_classes(body).items()]
    except NotJson:
        return []


def _described(text: bytes) -> Description:
    try:
        return _read_class(text)
    except NotJson:
        return {}


def _merged(found: Sequence[Description]) -> Description:
    first = found[0]
    groups = _object(first.get("input"))
    merged = {
        group: {
            name: _with_choices(spec, [_spec(one, name) for one in found[1:]])
            for name, spec in _object(inputs).items()
        }
        for group, inputs in groups.items()
    }
    return {**first, "input": {**groups, **merged}}


def _spec(description: Description, name: str) -> object:
    groups = _object(description.get("input")).values()
    return next((_object(group)[name] for group in groups if name in _object(group)), None)


def _with_choices(spec: object, others: Iterable[object]) -> object:
    """Return an input with the choices that others have of it, too."""
    choices = choices_of(spec)
    if choices is None:
        return spec
    more = [one for other in others for one in choices_of(other) or ()]
    return with_choices(spec, [*choices, *(one for one in _once(more) if one not in choices)])


def _once(values: Iterable[object]) -> list[object]:
    found = list[object]()
    for value in values:
        if value not in found:
            found.append(value)
    return found


def choices_of(spec: object) -> list[object] | None:
    """Return the choices of an input; None for one that has no list of them."""
    if not isinstance(spec, list) or not spec:
        return None
    if isinstance(spec[0], list):
        return spec[0]
    listed = _object(spec[1]).get("options") if spec[0] == COMBO and len(spec) > 1 else None
    return listed if isinstance(listed, list) else None


def with_choices(spec: object, choices: list[object]) -> object:
    """Return an input with other choices, in the form that it has."""
    if not isinstance(spec, list) or not spec:
        return spec
    if isinstance(spec[0], list):
        return [choices, *spec[1:]]
    return [spec[0], {**_object(spec[1] if len(spec) > 1 else None), "options": choices}, *spec[2:]]


def upload_inputs(description: Description) -> dict[str, str]:
    """Return the inputs of a class that take uploaded files -> what they take: image, audio, video
    or file."""
    found = dict[str, str]()
    for group in _object(description.get("input")).values():
        for name, spec in _object(group).items():
            options = _object(spec[1]) if isinstance(spec, list) and len(spec) > 1 else {}
            for option, value in options.items():
                if option.endswith("_upload") and value:
                    found[name] = option.removesuffix("_upload").removeprefix("animated_")
    return found


def with_uploads(description: Description, names: dict[str, list[str]]) -> Description:
    """Return a class with these names as the choices of its inputs: input -> names."""
    groups = {
        group: {
            name: with_choices(spec, list(names[name])) if _is_list(name, spec, names) else spec
            for name, spec in _object(inputs).items()
        }
        for group, inputs in _object(description.get("input")).items()
        if isinstance(inputs, dict)
    }
    return {**description, "input": {**_object(description.get("input")), **groups}}


def _is_list(name: str, spec: object, names: dict[str, list[str]]) -> bool:
    return name in names and choices_of(spec) is not None


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
