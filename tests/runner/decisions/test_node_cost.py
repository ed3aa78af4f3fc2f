"""What is learned of a node's cost: a moving average that a loaded model does not spoil."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.costs.node_cost import NodeCost, is_sane, learned, scaled

SEEN = NodeCost(before_s=0.2, step_s=0.5, steps=20, after_s=0.1)

numbers = st.one_of(st.floats(), st.floats(0, 1e7))
anything = st.builds(
    NodeCost,
    before_s=numbers,
    step_s=numbers,
    steps=numbers,
    after_s=numbers,
    count=st.integers(-5, 2**70),
)


def test_the_first_run_is_taken_as_it_is_but_for_what_may_be_loading() -> None:
    assert learned(None, SEEN).total_s == pytest.approx(10.3)
    loading = NodeCost(before_s=30.0, step_s=0.5, steps=20)
    assert learned(None, loading).total_s == pytest.approx(10.5)
    assert learned(learned(None, loading), SEEN).before_s == 0.2


def test_what_takes_long_each_time_is_believed_from_the_second_run_on() -> None:
    each_time = NodeCost(before_s=30.0, step_s=0.5, steps=20)
    assert learned(learned(None, each_time), each_time).total_s == pytest.approx(40.0)


def test_the_average_follows_a_faster_run_sooner() -> None:
    known = learned(None, NodeCost(before_s=10.0))
    assert learned(known, NodeCost(before_s=0.0)).total_s == pytest.approx(3.0)
    assert learned(known, NodeCost(before_s=20.0)).total_s == pytest.approx(13.0)


def test_a_node_that_begins_to_report_steps_is_learned_anew() -> None:
    assert learned(NodeCost(before_s=99.0, count=9), SEEN) == SEEN


def test_a_larger_picture_takes_longer_per_step() -> None:
    assert scaled(SEEN, 4).step_s == 2.0
    assert scaled(SEEN, 4).steps == 20


@pytest.mark.parametrize("odd", [math.nan, math.inf, -1.0, 1e9])
def test_what_makes_no_sense_teaches_nothing(odd: float) -> None:
    for seen in (NodeCost(before_s=odd), NodeCost(step_s=odd), NodeCost(steps=odd)):
        assert learned(SEEN, seen) == SEEN
        assert learned(None, seen) == NodeCost()


@given(st.none() | anything.filter(is_sane), anything)
def test_what_is_known_always_makes_sense(known: NodeCost | None, seen: NodeCost) -> None:
    assert is_sane(learned(known, seen))
