from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from everfold.projector.assignment.fair_share import candidates, fair_share, surplus


@given(st.integers(1, 64), st.integers(1, 20))
def test_fair_shares_cover_all_partitions_and_none_is_one_too_large(
    partitions: int, live: int
) -> None:
    share = fair_share(partitions, live)
    assert share * live >= partitions
    assert (share - 1) * live < partitions


@given(st.sets(st.integers(0, 15)), st.integers(1, 6))
def test_what_is_over_the_share_is_given_up_and_nothing_more(held: set[int], live: int) -> None:
    kept = held - set(surplus(sorted(held), 16, live))
    assert len(kept) == min(len(held), fair_share(16, live))


@given(st.sets(st.integers(0, 15)), st.integers(1, 6), st.integers(0, 99))
def test_only_partitions_that_are_not_held_are_tried(held: set[int], live: int, start: int) -> None:
    tried = candidates(sorted(held), 16, live, start)
    assert not set(tried) & held
    full = len(held) >= fair_share(16, live)
    assert len(tried) == (0 if full else 16 - len(held))
