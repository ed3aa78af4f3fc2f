"""Checks a submitted graph as ComfyUI does: by what this simulator lists, and by its input files.

Rule: pure, but for the files it asks `Files` for. The check itself is the one that a client makes
at submit (runner/capabilities/validation.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from everfold.runner.capabilities.node_check import Graph
from everfold.runner.capabilities.object_info import Input, Lists, NodeClass, ObjectInfo
from everfold.runner.capabilities.validation import Verdict, validate
from everfold.simulator.nodes.shapes import Files, InputFile, InputSpec, NodeShape, choices


class Link(NamedTuple):
    """An input that comes from another node."""

    source: str
    slot: int


class Catalogue(NamedTuple):
    """The node classes and the files that a graph is checked against."""

    shapes: Mapping[str, NodeShape]
    files: Files


def check(graph: Graph, catalogue: Catalogue, targets: list[str] | None = None) -> Verdict:
    """Check a graph; its values are converted in place, as ComfyUI stores them."""

    def own_check(class_type: str, name: str, value: object) -> str:
        has_file = catalogue.files.has_upload(str(value))
        return "" if has_file else f"Invalid image file: {value}"

    return validate(graph, _info_for(graph, catalogue), targets, own_check)


def links(node: dict[str, object]) -> dict[str, Link]:
    """Return the inputs of a node that come from another one."""
    inputs = node.get("inputs")
    if not isinstance(inputs, dict):
        return {}
    return {
        name: Link(str(value[0]), value[1])
        for name, value in inputs.items()
        if isinstance(value, list) and len(value) == 2
    }


def _info_for(graph: Graph, catalogue: Catalogue) -> ObjectInfo:
    """Return what is listed of the classes that the graph has."""
    lists = Lists()
    named = {str(node.get("class_type")) for node in graph.values()}
    classes = {
        name: _node_class(catalogue.shapes[name], catalogue.files, lists)
        for name in sorted(named & catalogue.shapes.keys())
    }
    return ObjectInfo(classes, lists.all())


def _node_class(shape: NodeShape, files: Files, lists: Lists) -> NodeClass:
    return NodeClass(
        required=tuple(_input(name, spec, files, lists) for name, spec in shape.required.items()),
        optional=tuple(_input(name, spec, files, lists) for name, spec in shape.optional.items()),
        returns=shape.returns,
        is_output=shape.is_output,
    )


def _input(name: str, spec: InputSpec, files: Files, lists: Lists) -> Input:
    kind, options = choices(spec, files)
    if isinstance(kind, list):
        place = lists.place_of(tuple(kind))
        return Input(name, place, options, place, is_open=isinstance(spec[0], InputFile))
    assert isinstance(kind, str)  # lists of files are listed by now
    return Input(name, kind, options)
