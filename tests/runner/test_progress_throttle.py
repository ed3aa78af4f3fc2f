from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.backend import Progress
from everfold.runner.decisions.progress_throttle import ProgressThrottle


def progress(value: float) -> Progress:
    return Progress(value=value, nodes_done=0, nodes_total=4)


def test_the_first_value_is_due_at_once() -> None:
    throttle = ProgressThrottle(1, interval_s=0.5)
    throttle.note(progress(0.1))
    event = throttle.take(10.0)
    assert event is not None
    assert event.value == 0.1


def test_values_that_come_too_soon_wait_and_the_last_one_wins() -> None:
    throttle = ProgressThrottle(1, interval_s=0.5)
    throttle.note(progress(0.1))
    throttle.take(10.0)
    throttle.note(progress(0.2))
    throttle.note(progress(0.3))
    assert throttle.take(10.4) is None
    assert throttle.due_in_s(10.4) is not None
    event = throttle.take(10.5)
    assert event is not None
    assert event.value == 0.3


def test_the_same_value_is_not_told_twice() -> None:
    throttle = ProgressThrottle(1, interval_s=0.5)
    throttle.note(progress(0.1))
    throttle.take(10.0)
    throttle.note(progress(0.1))
    assert throttle.due_in_s(20.0) is None


@given(st.lists(st.tuples(st.floats(0.0, 0.3), st.integers(0, 99)), min_size=1, max_size=60))
def test_at_most_two_a_second_and_the_last_one_is_never_lost(
    steps: list[tuple[float, int]],
) -> None:
    throttle, now_s, told = ProgressThrottle(1, interval_s=0.5), 0.0, []
    for pause_s, percent in steps:
        now_s += pause_s
        throttle.note(progress(percent / 100))
        event = throttle.take(now_s)
        if event is not None:
            told.append((now_s, event.value))
    assert all(later - earlier >= 0.5 for (earlier, _), (later, _) in pairwise(told))
    last = throttle.take_last(now_s)
    final = last.value if last is not None else told[-1][1]
    assert final == steps[-1][1] / 100
