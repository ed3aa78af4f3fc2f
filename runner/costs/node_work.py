"""One node at work: when it began and which steps it reported, and how far it is by its cost.

Rule: pure and total; times are seconds of any steady clock, and one that makes no sense is none.
Between two messages the time moves a node on, ever slower, and never as far as the next message.
"""

from __future__ import annotations

import math

from msgspec import Struct, structs

from everfold.runner.costs.node_cost import NodeCost

STEADY_SHARE = 0.8
"""Up to this share of what is expected a node moves on with the time, then ever slower."""


class NodeWork(Struct, frozen=True, kw_only=True):
    """What was seen of a node that has begun and not ended."""

    began_at_s: float
    is_whole: bool
    """Whether its beginning was seen: else nothing is learned of it."""
    first_at_s: float = 0.0
    last_at_s: float = 0.0
    """When its first and its newest step were reported."""
    first: float = 0.0
    """How many steps the first report told."""
    value: float = 0.0
    top: float = 0.0
    """The newest report: `value` of `top` steps."""
    done: float = 0.0
    """All steps so far: a node may count from 1 again in a second pass."""


def stepped(work: NodeWork, value: float, top: float, at_s: float) -> NodeWork:
    """Return the node after a report; one without a further step changes nothing."""
    if not (math.isfinite(value) and math.isfinite(top)) or top <= 1 or not 0 < value <= top:
        return work
    if value == work.value and top == work.top:
        return work
    further = value - work.value if value > work.value and top == work.top else value
    work = structs.replace(work, value=value, top=top, last_at_s=at_s, done=work.done + further)
    return work if work.first else structs.replace(work, first=value, first_at_s=at_s)


def seen_cost(work: NodeWork, ended_at_s: float) -> NodeCost | None:
    """Return what the node took; None where its beginning was not seen."""
    if not work.is_whole:
        return None
    if work.done <= work.first:
        return NodeCost(before_s=max(0.0, ended_at_s - work.began_at_s))
    step_s = (work.last_at_s - work.first_at_s) / (work.done - work.first)
    return NodeCost(
        before_s=max(0.0, work.first_at_s - work.began_at_s - step_s * work.first),
        step_s=step_s,
        steps=work.done,
        after_s=max(0.0, ended_at_s - work.last_at_s),
    )


def done_s(work: NodeWork, cost: NodeCost, at_s: float, pace: float) -> float:
    """Return how many of the cost's seconds are done at `at_s`; less than all of them.

    `pace` is how many seconds pass here for each of the cost's.
    """
    if not cost.steps:
        part = work.value / work.top if work.top else 0.0
        by_time_s = _toward(cost.total_s, (at_s - work.began_at_s) / pace)
        return max(by_time_s, cost.total_s * part)
    if not work.done:
        return _toward(cost.lead_s + cost.step_s, (at_s - work.began_at_s) / pace)
    share = _share(work, cost)
    since_s = (at_s - work.last_at_s) / pace
    next_s = min(cost.step_s, cost.step_s * cost.steps * (1 - share)) if share < 1 else cost.after_s
    return cost.lead_s + cost.step_s * cost.steps * share + _toward(next_s, since_s)


def left_s(work: NodeWork, cost: NodeCost, at_s: float, pace: float) -> float:
    """Return how many of the cost's seconds are left; a node that is late is expected to take a
    tenth longer still."""
    by_cost_s = cost.total_s - done_s(work, cost, at_s, pace)
    elapsed_s = max(0.0, (at_s - work.began_at_s) / pace) if work.is_whole else 0.0
    return by_cost_s if elapsed_s <= cost.total_s else max(by_cost_s, elapsed_s / 10)


def _share(work: NodeWork, cost: NodeCost) -> float:
    # Some nodes go through their steps in several passes, each of which begins at 1.
    passes = cost.is_same_work and cost.steps > work.top
    return min(1.0, work.done / cost.steps if passes else work.value / work.top)


def _toward(limit_s: float, elapsed_s: float) -> float:
    """Return how much of `limit_s` is done after this time: never all of it."""
    steady_s = limit_s * STEADY_SHARE
    if elapsed_s <= steady_s:
        return max(0.0, elapsed_s)
    rest_s = limit_s - steady_s
    return (
        limit_s - rest_s * math.exp(-min((elapsed_s - steady_s) / rest_s, 50.0)) if rest_s else 0.0
    )
