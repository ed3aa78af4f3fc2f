"""Checks a workflow before anything is written, and says what else was given in its place.

Rule: pure. Only what ComfyUI would fall over is refused: whether nodes and values make sense there
is for its own validation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import cast

import msgspec

from everfold.streams.border.values import shown
from everfold.streams.errors import InvalidWorkflow, TooLarge
from everfold.streams.events.json_text import NotJson, read_unique_json
from everfold.streams.events.json_values import write_json
from everfold.streams.events.limits import NESTING_LIMIT, WORKFLOW_LIMIT_BYTES
from everfold.streams.events.needs import Needs, needs_of

EXPORT_HINT = (
    "In ComfyUI choose Workflow > Export (API) (older versions: enable the dev mode options, "
    "then Save (API Format)) and submit that file"
)

SPACES = 4
"""A text with line breaks and indents is at most so many times as large as its graph."""

LOOK_DEEP = 4
"""Levels in which a graph is looked for inside the request of another service."""


class CheckedWorkflow(msgspec.Struct, frozen=True):
    """A workflow in canonical JSON: keys sorted, no spaces. Equal graphs have equal bytes."""

    json: bytes
    sha256: str
    """Of `json`, in hex."""
    needs: Needs = Needs()
    """What a server must have to run it."""


def check_workflow(workflow: object) -> CheckedWorkflow:
    """Return the graph in canonical form; `workflow` is a mapping, or its JSON as text or bytes.

    What was checked before is returned as it is. Raises InvalidWorkflow with a hint what to do, or
    TooLarge above WORKFLOW_LIMIT_BYTES.
    """
    if isinstance(workflow, CheckedWorkflow):
        return workflow
    if isinstance(workflow, str | bytes | bytearray | memoryview):
        workflow = _parse(workflow if isinstance(workflow, str) else bytes(workflow))
    if not isinstance(workflow, Mapping):
        raise InvalidWorkflow(
            f"a workflow is an object of nodes, not {_kind(workflow)}. {EXPORT_HINT}"
        )
    if not workflow:
        raise InvalidWorkflow(f"the workflow has no nodes. {EXPORT_HINT}")
    if not any(map(_is_node, workflow.values())):
        _refuse_other_formats(workflow)
    for node, body in workflow.items():
        _check_node(node, body)
    return _canonical(workflow)


def _parse(text: str | bytes) -> object:
    if len(text) > SPACES * WORKFLOW_LIMIT_BYTES:  # spaces are not counted, but have an end
        raise TooLarge("the workflow", len(text), SPACES * WORKFLOW_LIMIT_BYTES)
    if not text.strip():
        raise InvalidWorkflow(f"the workflow is not JSON: it is empty. {EXPORT_HINT}")
    try:
        return read_unique_json(text, NESTING_LIMIT)
    except NotJson as error:
        raise InvalidWorkflow(f"the workflow is not JSON: {error}. {EXPORT_HINT}") from error


def _is_node(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("class_type"), str)


def _refuse_other_formats(workflow: Mapping[object, object]) -> None:
    """Raise InvalidWorkflow for what another program or service takes, with where the graph is."""
    for place, inner in _objects(workflow):
        if isinstance(inner.get("nodes"), list):
            raise InvalidWorkflow(
                f"this workflow{_at(place)} is in the format of ComfyUI's editor (it has `nodes` "
                f"and `links`), which a server cannot run. {EXPORT_HINT}"
            )
        if place and inner and all(map(_is_node, inner.values())):
            raise InvalidWorkflow(
                f"this is a request that holds a graph; submit the value of its `{place}` only"
            )


def _at(place: str) -> str:
    return f" (the value of `{place}`)" if place else ""


def _objects(workflow: Mapping[object, object]) -> Iterator[tuple[str, Mapping[object, object]]]:
    """Yield the objects within some levels, each with the names that lead to it."""
    level: list[tuple[str, Mapping[object, object]]] = [("", workflow)]
    for _ in range(LOOK_DEEP):
        yield from level
        level = [
            (f"{place}.{name}".lstrip(".")[:100], inner)
            for place, outer in level
            for name, inner in list(outer.items())[:100]
            if isinstance(inner, Mapping)
        ]


def _check_node(node: object, body: object) -> None:
    if not isinstance(node, str):
        raise InvalidWorkflow(f"node ids are strings, not {_kind(node)} ({shown(node)})")
    if not isinstance(body, Mapping):
        raise InvalidWorkflow(f"node {shown(node)} is {_kind(body)}, not an object. {EXPORT_HINT}")
    if not isinstance(body.get("class_type"), str):
        raise InvalidWorkflow(f"node {shown(node)} has no `class_type`. {EXPORT_HINT}")
    # A node without inputs is accepted by ComfyUI and then kills its worker thread for good.
    if not isinstance(body.get("inputs"), Mapping):
        raise InvalidWorkflow(
            f"node {shown(node)} ({str(body['class_type'])[:100]}) has no `inputs` object; "
            "write {} where a node has none, or remove the node"
        )


def _canonical(workflow: Mapping[object, object]) -> CheckedWorkflow:
    try:
        encoded = write_json(workflow, "deterministic")
    except NotJson as error:
        raise InvalidWorkflow(f"the workflow cannot be written as JSON: {error}") from error
    if len(encoded) > WORKFLOW_LIMIT_BYTES:
        raise TooLarge("the workflow", len(encoded), WORKFLOW_LIMIT_BYTES)
    needs = needs_of(cast("Mapping[str, object]", workflow))
    return CheckedWorkflow(encoded, hashlib.sha256(encoded).hexdigest(), needs)


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else f"a {type(value).__name__}"
