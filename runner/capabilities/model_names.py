"""Writes the names of files in a graph as the server that is to run it lists them.

Rule: pure. Only "/" and "\\" between folders are changed: a server on Windows lists the latter,
and ComfyUI refuses a name that is not exactly one of its list.
"""

from __future__ import annotations

import msgspec

from everfold.runner.capabilities.node_check import Graph
from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.runner.loose_json import as_object, as_text, read


def read_graph(workflow: bytes) -> Graph:
    """Return a graph by its JSON; an empty one for anything else, and without what is no node."""
    try:
        nodes = as_object(read(workflow))
    except ValueError:
        return {}
    return {name: node for name, node in nodes.items() if isinstance(node, dict)}


def with_listed_names(workflow: bytes, info: ObjectInfo | None) -> bytes:
    """Return the graph as the server has to get it; the same bytes where nothing changes."""
    if info is None:
        return workflow
    graph = read_graph(workflow)
    return msgspec.json.encode(graph) if list_names(graph, info) else workflow


def list_names(graph: Graph, info: ObjectInfo) -> bool:
    """Change the names in a graph to the listed ones; say whether any was changed."""
    is_changed = False
    for node in graph.values():
        inputs = as_object(node.get("inputs"))
        for name, value in inputs.items():
            if not isinstance(value, str) or not _has_folder(value):
                continue
            node_class = info.classes.get(as_text(node.get("class_type")))
            spec = node_class.inputs.get(name) if node_class else None
            listed = info.lists[spec.choices] if spec and spec.choices is not None else (value,)
            if value not in listed:
                same = (one for one in listed if isinstance(one, str) and _same(one, value))
                inputs[name] = next(same, value)
                is_changed = is_changed or inputs[name] != value
    return is_changed


def _has_folder(name: str) -> bool:
    return "/" in name or "\\" in name


def _same(one: str, other: str) -> bool:
    return one.replace("\\", "/") == other.replace("\\", "/")
