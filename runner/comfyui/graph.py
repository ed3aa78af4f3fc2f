"""What a workflow's graph says about the work ahead: which nodes run and how much each weighs.

Rule: pure and total; a node that makes no sense counts as an ordinary one. Only ComfyUI knows
which nodes are outputs (`outputs_to_execute` of its queue and history). Until it has named them,
the nodes that no other node links to are taken for outputs. Source: ComfyUI's execution.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from everfold.runner import loose_json

ORDINARY_WEIGHT = 1.0
UNKNOWN_SAMPLER_STEPS = 20
"""Weight of a sampler whose steps cannot be read from the graph: ComfyUI's own default."""
MOST_STEPS = 1_000_000
"""More steps weigh no more: a graph may ask for any number, also one that no float can hold."""


class Node(Struct, frozen=True):
    """One node of a graph."""

    class_type: str
    links: tuple[str, ...]
    """The nodes whose outputs it takes."""
    weight: float
    """Steps for a sampler-like node, else 1."""


Plan = Mapping[str, Node]
"""Node id -> node."""


def read_plan(workflow: bytes) -> dict[str, Node]:
    """Return the plan of an API-format graph (JSON); empty when it is no graph."""
    try:
        graph = loose_json.as_object(loose_json.read(workflow))
    except ValueError:
        return {}
    return {name: _read_node(graph, name) for name in graph}


def output_nodes(plan: Plan) -> frozenset[str]:
    """Return the nodes that no other node links to: a guess at the outputs."""
    linked = {link for node in plan.values() for link in node.links}
    return frozenset(plan.keys() - linked)


def reachable(plan: Plan, outputs: Iterable[str], cached: Collection[str] = ()) -> frozenset[str]:
    """Return the nodes that run for `outputs`; those that feed only cached nodes do not run."""
    waiting, found = list(outputs), set[str]()
    while waiting:
        name = waiting.pop()
        if name in found or name in cached or name not in plan:
            continue
        found.add(name)
        waiting.extend(plan[name].links)
    return frozenset(found)


def without(plan: Plan, outputs: Iterable[str], broken: Collection[str]) -> frozenset[str]:
    """Return the outputs that need none of the broken nodes: ComfyUI drops the others."""
    return frozenset(output for output in outputs if not reachable(plan, [output]) & set(broken))


def _read_node(graph: dict[str, object], name: str) -> Node:
    node = loose_json.as_object(graph[name])
    class_type = loose_json.as_text(node.get("class_type"))
    return Node(class_type, tuple(_links(node)), _weigh(graph, name, class_type))


def _links(node: dict[str, object]) -> Iterable[str]:
    for value in loose_json.as_object(node.get("inputs")).values():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
            yield value[0]


def _weigh(graph: dict[str, object], name: str, class_type: str) -> float:
    # A scheduler has steps too, but only computes the sigmas that the sampler then walks.
    if class_type.endswith("Scheduler"):
        return ORDINARY_WEIGHT
    steps = _own_steps(graph, name)
    if steps is None and _is_sampler(class_type):
        steps = _steps_upstream(graph, name) or UNKNOWN_SAMPLER_STEPS
    return float(min(max(steps or 0, 1), MOST_STEPS))


def _is_sampler(class_type: str) -> bool:
    # KSamplerSelect only names an algorithm.
    return class_type.startswith(("KSampler", "SamplerCustom")) and class_type != "KSamplerSelect"


def _own_steps(graph: dict[str, object], name: str) -> int | None:
    inputs = loose_json.as_object(loose_json.as_object(graph.get(name)).get("inputs"))
    steps = inputs.get("steps")
    return steps if isinstance(steps, int) and not isinstance(steps, bool) else None


def _steps_upstream(graph: dict[str, object], name: str) -> int | None:
    """Return the steps of the nearest node upstream that has some, such as a scheduler."""
    waiting, seen = [name], {name}
    for current in waiting:
        if (steps := _own_steps(graph, current)) is not None:
            return steps
        fresh = list(_links(loose_json.as_object(graph.get(current))))
        waiting.extend(link for link in fresh if link not in seen)
        seen.update(fresh)
    return None
