"""How far a prompt is, folded from its websocket messages.

Rule: pure and total. The value never falls and never exceeds 0.99, because messages do not prove
the end. It is the weight of the nodes done divided by that of all nodes that run (reachable from
the outputs, without the cached ones); a node at work counts by its value/max. `progress_state`
alone is enough, as after a reconnect; servers that do not send it are followed without it. Nodes
that the graph does not have count nothing.
"""

from __future__ import annotations

import math

from msgspec import Struct, structs

from everfold.runner.backend import Progress
from everfold.runner.comfyui import messages
from everfold.runner.comfyui.graph import MOST_STEPS, Plan, output_nodes, reachable
from everfold.runner.loose_json import NAME_LIMIT

HIGHEST = 0.99


class Tally(Struct, frozen=True, kw_only=True):
    """What is known of one prompt's progress."""

    plan: Plan
    outputs: frozenset[str]
    cached: frozenset[str] | None = None
    """None until ComfyUI names them; it does not repeat that after a reconnect."""
    finished: frozenset[str] = frozenset()
    parts: dict[str, float] = {}
    """The share that is done, 0 to 1, of each node at work."""
    is_cumulative: bool = False
    """True once the server has sent a progress_state: only that says then what has finished."""
    node: str | None = None
    step: int | None = None
    steps: int | None = None
    runs: frozenset[str] = frozenset()
    """The nodes that have to run, cached ones left out."""
    value: float = 0.0
    """The highest value so far."""


def new_tally(plan: Plan) -> Tally:
    """Return the tally of a prompt of which nothing was seen yet; guesses its outputs."""
    return _recomputed(Tally(plan=plan, outputs=output_nodes(plan)))


def learn_outputs(tally: Tally, outputs: frozenset[str]) -> Tally:
    """Use the outputs that ComfyUI names; an empty set changes nothing."""
    return _recomputed(structs.replace(tally, outputs=outputs)) if outputs else tally


def evolve(tally: Tally, message: messages.Message) -> Tally:
    """Fold one message about this prompt; other kinds of message change nothing."""
    match message:
        case messages.ExecutionCached(nodes=nodes):
            cached = frozenset(nodes) & (tally.plan.keys() | tally.outputs)
            return _recomputed(structs.replace(tally, cached=cached))
        case messages.ProgressState(nodes=nodes):
            return _recomputed(_apply_progress_state(tally, nodes))
        case messages.Executing(node=str() as node):
            return _recomputed(_enter(tally, _graph_node(tally, node, message.display_node)))
        case messages.ProgressValue(node=node, node_id=node_id):
            node = node or node_id or tally.node
            return _recomputed(_advance(tally, node, message.value, message.max))
        case messages.Executed(node=node) if node in tally.plan:
            return _recomputed(structs.replace(tally, finished=tally.finished | {node}))
        case _:
            return tally


def report(tally: Tally) -> Progress:
    """Return the tally as the progress that a runner records."""
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


def _apply_progress_state(tally: Tally, nodes: dict[str, messages.NodeState]) -> Tally:
    """Replace the nodes at work by those of the message; what has finished stays finished."""
    finished = {name for name, node in nodes.items() if node.state == "finished"}
    at_work = {name for name in nodes if name in tally.plan and name not in finished}
    tally = structs.replace(
        tally,
        is_cumulative=True,
        finished=tally.finished | (finished & tally.plan.keys()),
        parts={name: _share(nodes[name].value, nodes[name].max) for name in at_work},
    )
    running = [name for name in nodes if name not in finished]
    if not running:
        return tally
    last = nodes[running[-1]]
    tally = _enter(tally, _graph_node(tally, running[-1], last.display_node_id))
    # Every node starts as 0 of 1; only a max above that says how many steps there are.
    return _count_steps(tally, last.value, last.max) if last.max > 1 else tally


def _enter(tally: Tally, node: str) -> Tally:
    """Make `node` the current one. On an old server the node before has finished then."""
    if node == tally.node or len(node) > NAME_LIMIT:
        return tally
    ended = {tally.node} if tally.node in tally.plan and not tally.is_cumulative else set[str]()
    return structs.replace(tally, node=node, step=None, steps=None, finished=tally.finished | ended)


def _advance(tally: Tally, node: str | None, value: float, top: float) -> Tally:
    if node is None:
        return tally
    if node in tally.plan:
        parts = {**tally.parts, node: _share(value, top)}
        tally = structs.replace(_enter(tally, node), parts=parts)
    return _count_steps(tally, value, top)


def _count_steps(tally: Tally, value: float, top: float) -> Tally:
    if not (math.isfinite(value) and 1 <= top <= MOST_STEPS):
        return tally
    steps = int(top)
    return structs.replace(tally, step=min(max(int(value), 0), steps), steps=steps)


def _share(value: float, top: float) -> float:
    share = value / top if top > 0 else 0.0
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0


def _graph_node(tally: Tally, node: str, display_node: str | None) -> str:
    """Return the node of the graph; `node` may come from the expansion of another one."""
    return display_node if node not in tally.plan and display_node else node


def _runs(tally: Tally) -> frozenset[str]:
    cached = _inferred_cache(tally) if tally.cached is None else tally.cached
    return reachable(tally.plan, tally.outputs, cached)


def _inferred_cache(tally: Tally) -> frozenset[str]:
    """Return the nodes upstream that never ran: their results must have come from the cache."""
    if not tally.is_cumulative:
        return frozenset()
    seen = tally.finished | tally.parts.keys()
    return reachable(tally.plan, seen) - seen


def _recomputed(tally: Tally) -> Tally:
    """Compute again what runs, and the value, which never falls."""
    runs, plan = _runs(tally), tally.plan
    total = sum(plan[name].weight for name in runs)
    done = sum(
        plan[name].weight * (1.0 if name in tally.finished else tally.parts.get(name, 0.0))
        for name in runs
    )
    # With every node answered from the cache nothing is left to do.
    value = done / total if total else (HIGHEST if tally.cached else 0.0)
    return structs.replace(tally, runs=runs, value=max(tally.value, min(value, HIGHEST)))
