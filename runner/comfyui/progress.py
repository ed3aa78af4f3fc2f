"""How far a prompt is, folded from its websocket messages.

Rule: pure and total; times are seconds of any steady clock. The value never falls and never exceeds
0.99, because messages do not prove the end. It is the time of the nodes done divided by that of all
that run: reachable from the outputs, not cached. A node takes what it took in earlier runs, or else
as long per step as the others; one at work counts by its value/max. `progress_state` alone is
enough, and not needed. Nodes that the graph does not have count nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec import Struct, structs

from everfold.runner.backend import Progress
from everfold.runner.comfyui import messages
from everfold.runner.comfyui.graph import MOST_STEPS, Plan, output_nodes, reachable
from everfold.runner.costs.node_cost import NodeCost
from everfold.runner.costs.node_work import NodeWork, done_s, left_s, seen_cost, stepped
from everfold.runner.loose_json import NAME_LIMIT

HIGHEST = 0.99

LATEST_S = 1e12
"""No clock shows more."""
LEAST_S = 0.001
"""What a node takes at least."""
UNKNOWN_SHARE = 0.1
"""How much of the work ahead may be unknown where the time that is left is told."""
FASTEST, SLOWEST = 0.1, 10.0
"""Limits of the pace: seconds that pass for each that was expected."""
PACE_SHARE = 0.1
"""Of all the work: so much has to be done until half of what was seen of the pace counts."""


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
    total_s: float = 0.0
    ended_s: float = 0.0
    """What all of these are expected to take, and those of them that have finished."""
    value: float = 0.0
    """The highest value so far, by the messages alone."""
    costs: Mapping[str, NodeCost] = {}
    """What is known of the plan's nodes."""
    seconds: Mapping[str, float] = {}
    """What each node of the plan is expected to take, known or not."""
    work: Mapping[str, NodeWork] = {}
    """The nodes of the plan that have begun."""
    seen: Mapping[str, NodeCost] = {}
    """What nodes took that were seen from their beginning to their end."""
    is_live: bool = False
    """Whether all messages since the last one have come: what begins now was not begun before."""
    at_s: float = 0.0
    """When the last message came."""
    idle_since_s: float = 0.0
    """When the last node ended, or the prompt began. What passes until the next one begins, is
    that one's."""


def new_tally(plan: Plan, costs: Mapping[str, NodeCost] = {}) -> Tally:
    """Return the tally of a prompt of which nothing was seen yet; guesses its outputs."""
    known = {
        name: _fitted(costs[name], node.weight) for name, node in plan.items() if name in costs
    }
    seconds = _expected_seconds(plan, known)
    outputs = output_nodes(plan)
    return _recomputed(Tally(plan=plan, outputs=outputs, costs=known, seconds=seconds))


def learn_outputs(tally: Tally, outputs: frozenset[str]) -> Tally:
    """Use the outputs that ComfyUI names; an empty set changes nothing."""
    return _recomputed(structs.replace(tally, outputs=outputs)) if outputs else tally


def miss(tally: Tally) -> Tally:
    """Note that messages may have been lost: what has begun was not seen as a whole."""
    work = {name: structs.replace(node, is_whole=False) for name, node in tally.work.items()}
    return structs.replace(tally, is_live=False, work=work)


def evolve(tally: Tally, message: messages.Message, at_s: float = 0.0) -> Tally:
    """Fold one message about this prompt, which came at `at_s`; other kinds change nothing."""
    after = _evolved(tally, message)
    if after is not None:
        after = _recomputed(after, tally)
    elif isinstance(message, _OF_TIME):
        after = tally
    else:
        return tally
    return _timed(tally, after, message, _later(tally, at_s))


_OF_TIME = (messages.ExecutionStart, messages.ExecutionSuccess)


def _evolved(tally: Tally, message: messages.Message) -> Tally | None:
    """Return what a message makes of the tally, None for one that says nothing of the progress."""
    match message:
        case messages.ExecutionCached(nodes=nodes):
            cached = frozenset(nodes) & (tally.plan.keys() | tally.outputs)
            return structs.replace(tally, cached=cached)
        case messages.ProgressState(nodes=nodes):
            return _apply_progress_state(tally, nodes)
        case messages.Executing(node=str() as node):
            return _enter(tally, _graph_node(tally, node, message.display_node))
        case messages.ProgressValue(node=node, node_id=node_id):
            node = node or node_id or tally.node
            return _advance(tally, node, message.value, message.max)
        case messages.Executed(node=node) if node in tally.plan:
            return structs.replace(tally, finished=tally.finished | {node})
        case _:
            return None


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


def estimate(tally: Tally, at_s: float) -> tuple[float, int | None]:
    """Return the value at `at_s`, and how many seconds are left where that is known."""
    if not tally.costs:
        return tally.value, None
    pace, total_s, all_done_s, known_s, unknown_s = _pace(tally), 0.0, 0.0, 0.0, 0.0
    at_s = _later(tally, at_s)
    for name in tally.runs - tally.finished:
        node_s, work, cost = tally.seconds[name], tally.work.get(name), tally.costs.get(name)
        total_s += node_s
        if cost is None:
            node_done_s = node_s * tally.parts.get(name, 0.0)
            unknown_s += node_s - node_done_s
        elif work is None:
            node_done_s = 0.0
            known_s += node_s
        else:
            node_done_s = min(done_s(work, cost, at_s, pace), node_s)
            known_s += left_s(work, cost, at_s, pace)
        all_done_s += node_done_s
    finished_s = sum(tally.seconds[name] for name in tally.runs & tally.finished)
    total_s += finished_s
    value = (all_done_s + finished_s) / total_s if total_s else tally.value
    is_known = unknown_s <= UNKNOWN_SHARE * (known_s + unknown_s)
    left = max(1, math.ceil((known_s + unknown_s) * pace)) if is_known else None
    return min(value, HIGHEST), left


def _later(tally: Tally, at_s: float) -> float:
    """Return the time, or that of the last message where it comes before it or makes no sense."""
    return max(tally.at_s, at_s) if abs(at_s) < LATEST_S else tally.at_s


def _pace(tally: Tally) -> float:
    """Return how many seconds pass in this run for each that was expected."""
    doubt_s = PACE_SHARE * sum(tally.seconds[name] for name in tally.runs)
    passed_s = expected_s = doubt_s
    for name, seen in tally.seen.items():
        if name in tally.costs:
            passed_s += seen.total_s
            expected_s += tally.costs[name].total_s
    for name, work in tally.work.items():
        if name in tally.costs and work.done > work.first:
            passed_s += work.last_at_s - work.first_at_s
            expected_s += (work.done - work.first) * tally.costs[name].step_s
    return min(max(passed_s / expected_s, FASTEST), SLOWEST) if expected_s else 1.0


def _timed(before: Tally, tally: Tally, message: messages.Message, at_s: float) -> Tally:
    """Note which nodes have begun, went on and ended with a message that came at `at_s`."""
    work, seen = dict(tally.work), dict(tally.seen)
    at_work = {*tally.parts, *({tally.node} if tally.node in tally.plan else ())} - tally.finished
    began_at_s = at_s if work or not before.is_live else tally.idle_since_s
    for name in at_work - work.keys():
        work[name] = NodeWork(began_at_s=began_at_s, is_whole=before.is_live)
    for name, value, top in _reports(tally, message):
        if name in work:
            work[name] = stepped(work[name], value, top, at_s)
    is_over = isinstance(message, messages.ExecutionSuccess)
    for name in [name for name in work if is_over or name in tally.finished]:
        cost = seen_cost(work.pop(name), at_s)
        if cost is not None:
            seen[name] = cost
    has_ended = len(seen) > len(tally.seen) or isinstance(message, messages.ExecutionStart)
    return structs.replace(
        tally,
        work=work,
        seen=seen,
        is_live=True,
        at_s=at_s,
        idle_since_s=at_s if has_ended else tally.idle_since_s,
    )


def _reports(tally: Tally, message: messages.Message) -> list[tuple[str, float, float]]:
    match message:
        case messages.ProgressState(nodes=nodes):
            return [(name, node.value, node.max) for name, node in nodes.items()]
        case messages.ProgressValue():
            name = message.node or message.node_id or tally.node
            return [(name, message.value, message.max)] if name else []
    return []


def _fitted(cost: NodeCost, weight: float) -> NodeCost:
    """Return a cost of a class with as many steps as the graph says."""
    is_of_class = cost.steps and not cost.is_same_work
    return structs.replace(cost, steps=weight) if is_of_class and weight > 1 else cost


def _expected_seconds(plan: Plan, costs: Mapping[str, NodeCost]) -> dict[str, float]:
    known = {name: max(cost.total_s, LEAST_S) for name, cost in costs.items()}
    weight_s = sum(known.values()) / sum(plan[name].weight for name in known) if known else 1.0
    return {name: known.get(name, node.weight * weight_s) for name, node in plan.items()}


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


def _run_alike(one: Tally, other: Tally) -> bool:
    """Say whether the same nodes run by two tallies of one plan."""
    if one.outputs != other.outputs or one.cached != other.cached:
        return False
    is_known = other.cached is not None or not (one.is_cumulative or other.is_cumulative)
    return is_known or (_seen(one) == _seen(other) and one.is_cumulative == other.is_cumulative)


def _seen(tally: Tally) -> frozenset[str]:
    """Return the nodes that were seen to run."""
    return tally.finished | tally.parts.keys()


def _inferred_cache(tally: Tally) -> frozenset[str]:
    """Return the nodes upstream that never ran: their results must have come from the cache."""
    if not tally.is_cumulative:
        return frozenset()
    seen = _seen(tally)
    return reachable(tally.plan, seen) - seen


def _recomputed(tally: Tally, before: Tally | None = None) -> Tally:
    """Compute again what runs, and the value, which never falls; `before` was computed."""
    # A message comes for each step, and hardly any changes which nodes run.
    known = before if before is not None and _run_alike(before, tally) else None
    seconds, finished = tally.seconds, tally.finished
    runs = known.runs if known else _runs(tally)
    total_s = known.total_s if known else sum(seconds[name] for name in runs)
    is_same = known is not None and known.finished == finished
    ended_s = tally.ended_s if is_same else sum(seconds[name] for name in runs & finished)
    at_work = ((name, share) for name, share in tally.parts.items() if name not in finished)
    done_s = ended_s + sum(seconds[name] * share for name, share in at_work if name in runs)
    # With every node answered from the cache nothing is left to do.
    value = done_s / total_s if total_s else (HIGHEST if tally.cached else 0.0)
    value = max(tally.value, min(value, HIGHEST))
    return structs.replace(tally, runs=runs, total_s=total_s, ended_s=ended_s, value=value)
