"""How long a projector waits for more events after a commit of few."""

from __future__ import annotations

import pytest

from everfold.streams.reading.gathering import GATHER_MOST_S, GATHER_S, gathering_s


@pytest.mark.parametrize(
    ("took_s", "period_s"),
    [(0.0, 0.005), (0.0025, 0.005), (0.003, 0.01), (0.02, 0.04), (9.0, 0.08)],
)
def test_waits_end_at_multiples_of_a_time_that_two_commits_fit_in(
    took_s: float, period_s: float
) -> None:
    for now_s in (100.0, 100.001, 100.0799):
        wait_s = gathering_s(now_s, took_s)
        assert 0 < wait_s <= period_s
        ends = (now_s + wait_s) / period_s
        assert ends == pytest.approx(round(ends))


def test_no_wait_is_longer_than_people_see() -> None:
    assert gathering_s(0.0, 60.0) <= GATHER_MOST_S == 16 * GATHER_S
