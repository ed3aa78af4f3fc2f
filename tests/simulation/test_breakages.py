"""Each broken model is noticed: the invariants can fail."""

from __future__ import annotations

import pytest

from tests.simulation.breakages import BREAKAGES
from tests.simulation.invariants import Violation
from tests.simulation.world import World

WITHIN_SEEDS = 1_500


def first_noticed(breakage: str) -> int | None:
    """Return the first seed under which the checker objects."""
    for seed in range(WITHIN_SEEDS):
        try:
            World(seed, BREAKAGES[breakage]).run()
        except Violation:
            return seed
    return None


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_model_is_noticed(breakage: str) -> None:
    assert first_noticed(breakage) is not None
