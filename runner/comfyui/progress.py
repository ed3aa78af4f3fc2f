"""How far a prompt is, folded from what its websocket says.

Rule: pure, total, never backwards, and never above 0.99: only the end is the end. The denominator
is the nodes that run (reachable from the outputs, less the cached), each by its weight; a node at
work counts by its value/max. Works from the cumulative `progress_state` alone, as after a
reconnect, and without it, as on servers that do not send it.
"""

from __future__ import annotations

import math

from msgspec import Struct, structs

from everfold.runner.backend import Progress
from everfold.runner.comfyui import messages as said
from everfold.runner.comfyui.graph import Plan, output_nodes, reachable

HIGHEST = 0.99


class Tally(Struct, frozen=True, kw_only=True):
    """What has been seen of one prompt."""

    plan: Plan
    outputs: frozenset[str]
    cached: frozenset[str] | None = None
    """None until ComfyUI has told, which after a reconnect it does not do again."""
    finished: frozenset[str] = frozenset()
    parts: dict[str, float] = {}
    """Share done, 0 to 1, of nodes at work."""
    is_cumulative: bool = False
    """True once the server has sent a progress_state: then it alone says what has finished."""
    node: str | None = None
    step: int | None = None
    steps: int | None = None
    runs: frozenset[str] = frozenset()
    """The nodes that run, by all that is known."""
    value: float = 0.0
    """The highest value so far."""


def begin(plan: Plan) -> Tally:
    return _raised(Tally(plan=plan, outputs=output_nodes(plan)))


def learn_outputs(tally: Tally, outputs: frozenset[str]) -> Tally:
    """Take ComfyUI's word for which nodes are outputs."""
    return _raised(structs.replace(tally, outputs=outputs)) if outputs else tally


def evolve(tally: Tally, message: said.Message) -> Tally:
    """Fold one message about this prompt."""
    match message:
        case said.ExecutionCached(nodes=nodes):
            return _raised(structs.replace(tally, cached=frozenset(nodes)))
        case said.ProgressState(nodes=nodes):
            return _raised(_survey(tally, nodes))
        case said.Executing(node=str() as node):
            return _raised(_enter(tally, _shown(tally, node, message.display_node)))
        case said.ProgressValue(node=node):
            return _raised(_advance(tally, node or tally.node, message.value, message.max))
        case said.Executed(node=node):
            return _raised(structs.replace(tally, finished=tally.finished | {node}))
        case _:
            return tally


def report(tally: Tally) -> Progress:
    """Return the tally as the runner sees it."""
    node = tally.plan.get(tally.node or "")
    return Progress(
        value=tally.value,
        nodes_done=len(tally.runs & tally.finished),
        nodes_total=len(tally.runs),
        node=tally.node,
        node_class=node.class_type if node else None,
        step=tally.step,
        steps=tally.steps,
    )


def _survey(tally: Tally, nodes: dict[str, said.NodeState]) -> Tally:
    """Replace what was known by the cumulative state."""
    finished = {name for name, node in nodes.items() if node.state == "finished"}
    parts = {name: _share(node.value, node.max) for name, node in nodes.items()}
    tally = structs.replace(
        tally,
        is_cumulative=True,
        finished=tally.finished | finished,
        parts={name: part for name, part in parts.items() if name not in finished},
    )
    running = [name for name in nodes if name not in finished]
    if not running:
        return tally
    last = nodes[running[-1]]
    tally = _enter(tally, _shown(tally, running[-1], last.display_node_id))
    # Every node starts as 0 of 1; only a max above that says how many steps there are.
    return _count_steps(tally, last.value, last.max) if last.max > 1 else tally


def _enter(tally: Tally, node: str) -> Tally:
    """Make `node` the current one; an old server's next node is the end of the one before."""
    if node == tally.node:
        return tally
    ended = {tally.node} if tally.node and not tally.is_cumulative else set[str]()
    return structs.replace(tally, node=node, step=None, steps=None, finished=tally.finished | ended)


def _advance(tally: Tally, node: str | None, value: float, top: float) -> Tally:
    if node is None:
        return tally
    if node in tally.plan:
        tally = _enter(tally, node)
    parts = {**tally.parts, node: _share(value, top)}
    return _count_steps(structs.replace(tally, parts=parts), value, top)


def _count_steps(tally: Tally, value: float, top: float) -> Tally:
    if not (math.isfinite(value) and math.isfinite(top)) or top < 1:
        return tally
    steps = int(top)
    return structs.replace(tally, step=min(max(int(value), 0), steps), steps=steps)


def _share(value: float, top: float) -> float:
    share = value / top if top > 0 else 0.0
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0


def _shown(tally: Tally, node: str, display_node: str | None) -> str:
    """Return the node of the graph that stands for `node`, which may come from an expansion."""
    return display_node if node not in tally.plan and display_node else node


def _runs(tally: Tally) -> frozenset[str]:
    cached = _inferred_cache(tally) if tally.cached is None else tally.cached
    return reachable(tally.plan, tally.outputs, cached)


def _inferred_cache(tally: Tally) -> frozenset[str]:
    """A node runs only when its inputs are there: inputs that never ran came from the cache."""
    if not tally.is_cumulative:
        return frozenset()
    seen = tally.finished | tally.parts.keys()
    return reachable(tally.plan, seen) - seen


def _raised(tally: Tally) -> Tally:
    """Recompute what runs, and the value, which never falls."""
    runs, plan = _runs(tally), tally.plan
    total = sum(plan[name].weight for name in runs)
    done = sum(
        plan[name].weight * (1.0 if name in tally.finished else tally.parts.get(name, 0.0))
        for name in runs
    )
    # With every node answered from the cache nothing is left to do.
    value = done / total if total else (HIGHEST if tally.cached else 0.0)
    return structs.replace(tally, runs=runs, value=max(tally.value, min(value, HIGHEST)))
