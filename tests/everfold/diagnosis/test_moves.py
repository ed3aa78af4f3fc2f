"""Which slots to move, so that primaries have as many partitions each."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from everfold.diagnosis.layout_check import moves_to_even

NODES = ["a:1", "b:1", "c:1"]


def test_nothing_is_moved_where_partitions_are_even() -> None:
    assert moves_to_even([(n, NODES[n % 3]) for n in range(24)], NODES) == []
    assert moves_to_even([(1, "a:1"), (2, "a:1"), (3, "b:1"), (4, "c:1")], NODES) == []


def test_a_new_primary_gets_its_part_in_as_few_moves_as_can_be() -> None:
    places = [(n, NODES[n % 2]) for n in range(24)]
    moves = moves_to_even(places, NODES)
    assert len(moves) == 8
    assert {node for _, node in moves} == {"c:1"}


@given(st.lists(st.sampled_from(NODES), max_size=64))
def test_after_the_moves_no_primary_has_two_more_than_another(at: list[str]) -> None:
    moved = dict(enumerate(at)) | dict(moves_to_even(list(enumerate(at)), NODES))
    counts = Counter(moved.values())
    assert max(counts[node] for node in NODES) - min(counts[node] for node in NODES) < 2
