"""A job's graph as it is drawn: nodes, edges, and the inputs that a person may change.

Rule: what others wrote is data. NODES_LIMIT nodes and CHOICES_LIMIT choices are told.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from starlette.responses import Response

from everfold.streams.events.json_text import NotJson, decoder
from everfold.web.bodies import json_answer
from everfold.web.comfyui.server.union import choices_of
from everfold.web.operation import Call, Operation
from everfold.web.own.answers import UNDER, job_id_of
from everfold.web.query import Query

NODES_LIMIT = 5_000
CHOICES_LIMIT = 1_000
TITLE_LIMIT = 200

_read_class = decoder(dict[str, object])


class GraphNode(Struct, frozen=True, kw_only=True):
    """One node."""

    id: str
    class_type: str
    title: str
    """What its author calls it, else its class."""
    is_output: bool | None
    """None while no server is known."""


class GraphEdge(Struct, frozen=True, kw_only=True):
    """What one node gives to another."""

    from_node: str
    slot: int
    to_node: str
    input: str


class GraphInput(Struct, frozen=True, kw_only=True):
    """A value that a person may change: a rerun takes `changes` by these names."""

    name: str
    """Node and input, such as 3.seed."""
    node: str
    input: str
    type: str
    """text, number, whole number, flag, or json."""
    value: object
    choices: tuple[str | int | float | bool, ...]
    """What it may be, by all servers together; empty for anything."""
    least: float | None
    most: float | None
    is_long: bool
    """A text of several lines."""


class Graph(Struct, frozen=True, kw_only=True):
    """A graph, in its own order."""

    job_id: str
    nodes: list[GraphNode]
    edges: list[GraphEdge]
    inputs: list[GraphInput]
    is_cut: bool
    """There are more nodes than are told."""


async def get_graph(call: Call) -> Response:
    """Return the graph of a job as it was submitted."""
    Query(call.request, ())
    job = await call.gateway.job(call.caller, job_id_of(call))
    graph = await call.gateway.everfold.graph(job.job_id)
    known = (await call.gateway.catalogue.known()).union
    return json_answer(drawn(job.job_id, graph, known.encoded, known.output_classes))


def drawn(
    job_id: str,
    graph: Mapping[str, object],
    described: Mapping[str, bytes],
    output_classes: frozenset[str],
) -> Graph:
    """Return a graph as it is drawn; `described` has what servers say of each class."""
    nodes, edges, inputs = list[GraphNode](), list[GraphEdge](), list[GraphInput]()
    for node_id, node in list(graph.items())[:NODES_LIMIT]:
        if not isinstance(node, dict):
            continue
        class_type, meta = str(node.get("class_type", "")), node.get("_meta")
        title = meta.get("title") if isinstance(meta, dict) else None
        shown = title if isinstance(title, str) and title else class_type
        is_output = class_type in output_classes if described else None
        nodes.append(
            GraphNode(
                id=node_id, class_type=class_type, title=shown[:TITLE_LIMIT], is_output=is_output
            )
        )
        given, specs = node.get("inputs"), _specs(described.get(class_type))
        for name, value in given.items() if isinstance(given, dict) else ():
            link = _link(value, graph)
            if link is not None:
                edges.append(
                    GraphEdge(from_node=link[0], slot=link[1], to_node=node_id, input=str(name))
                )
            else:
                inputs.append(_input(node_id, str(name), value, specs.get(str(name))))
    is_cut = len(graph) > NODES_LIMIT
    return Graph(job_id=job_id, nodes=nodes, edges=edges, inputs=inputs, is_cut=is_cut)


def _link(value: object, graph: Mapping[str, object]) -> tuple[str, int] | None:
    """Return the node and slot that an input names; None for a value."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    node, slot = value
    is_link = isinstance(node, str) and node in graph and type(slot) is int
    return (node, slot) if is_link else None


def _input(node: str, name: str, value: object, spec: object) -> GraphInput:
    options = _options(spec)
    choices = [one for one in choices_of(spec) or () if isinstance(one, str | int | float | bool)]
    return GraphInput(
        name=f"{node}.{name}",
        node=node,
        input=name,
        type=_type(value),
        value=value,
        choices=tuple(choices[:CHOICES_LIMIT]),
        least=_number(options.get("min")),
        most=_number(options.get("max")),
        is_long=options.get("multiline") is True,
    )


def _type(value: object) -> str:
    match value:
        case bool():
            return "flag"
        case int():
            return "whole number"
        case float():
            return "number"
        case str():
            return "text"
    return "json"


def _specs(text: bytes | None) -> Mapping[str, object]:
    """Return what servers say of the inputs of a class, by name."""
    if text is None:
        return {}
    try:
        groups = _read_class(text).get("input")
    except NotJson:
        return {}
    found: dict[str, object] = {}
    for group in groups.values() if isinstance(groups, dict) else ():
        found |= group if isinstance(group, dict) else {}
    return found


def _options(spec: object) -> Mapping[str, object]:
    is_told = isinstance(spec, list) and len(spec) > 1 and isinstance(spec[1], dict)
    return spec[1] if is_told and isinstance(spec, list) else {}


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


GRAPH: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/jobs/{{job_id}}/graph", answer=get_graph,
        name="get_job_graph", role="reader", answers={200: Graph},
        summary="Return the graph of a job as it is drawn, with the inputs that may be changed.",
    ),
)  # fmt: skip
