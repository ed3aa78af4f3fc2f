"""What a node costs: seconds before its first step, per step, and after its last one.

Rule: pure and total; times are arguments. A node that reports no steps has all its seconds before
the first one. What is learned is a moving average, which follows a faster run sooner than a slower
one: loading a model makes a run slow, and nothing makes it too fast.
"""

from __future__ import annotations

import math

from msgspec import Struct, structs

LONGEST_S = 7 * 86_400.0
MOST_STEPS = 1_000_000.0
MOST_COUNTED = 1_000_000

FASTER_SHARE, SLOWER_SHARE = 0.7, 0.3
"""How far the average moves to a run that took less, and to one that took more."""


class NodeCost(Struct, frozen=True, kw_only=True):
    """What one node took, or is expected to take."""

    before_s: float = 0.0
    """Until its first step begins; everything, where it reports no steps."""
    step_s: float = 0.0
    steps: float = 0.0
    """How many steps it reports, 0 for none."""
    after_s: float = 0.0
    """From its last step to its end."""
    count: int = 1
    """From how many runs it was learned."""
    is_same_work: bool = True
    """Learned from a node with the same settings; False: from others of its class."""

    @property
    def lead_s(self) -> float:
        """Seconds before the first step. Of a single run they are not believed: in it a sampler
        may have loaded its model, which the next run finds loaded."""
        is_believed = self.count > 1 or not self.steps
        return self.before_s if is_believed else min(self.before_s, self.step_s)

    @property
    def total_s(self) -> float:
        return self.lead_s + self.step_s * self.steps + self.after_s


def is_sane(cost: NodeCost) -> bool:
    """Say whether all numbers are finite, not negative, and within their limits."""
    times = (cost.before_s, cost.step_s, cost.after_s)
    return (
        all(math.isfinite(time_s) and 0 <= time_s <= LONGEST_S for time_s in times)
        and math.isfinite(cost.steps)
        and 0 <= cost.steps <= MOST_STEPS
        and 1 <= cost.count <= MOST_COUNTED
    )


def learned(known: NodeCost | None, seen: NodeCost) -> NodeCost:
    """Return what is known after one more run; what makes no sense teaches nothing."""
    if not is_sane(seen):
        return known or NodeCost()
    if known is None or bool(known.steps) != bool(seen.steps):
        return structs.replace(seen, count=1)
    before_s = _moved(known.before_s, seen.before_s)
    if seen.steps and known.count == 1:
        before_s = min(known.before_s, seen.before_s)
    return NodeCost(
        before_s=before_s,
        step_s=_moved(known.step_s, seen.step_s),
        steps=_moved(known.steps, seen.steps),
        after_s=_moved(known.after_s, seen.after_s),
        count=min(known.count + 1, MOST_COUNTED),
    )


def scaled(cost: NodeCost, factor: float) -> NodeCost:
    """Return the cost of `factor` times the work per step."""
    return structs.replace(
        cost,
        before_s=cost.before_s * factor,
        step_s=cost.step_s * factor,
        after_s=cost.after_s * factor,
    )


def _moved(known: float, seen: float) -> float:
    share = FASTER_SHARE if seen < known else SLOWER_SHARE
    return known + (seen - known) * share
