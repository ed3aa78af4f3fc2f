"""What is passed on of one job: thinned out, in order, bounded."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.live.job_queue import MOST_QUEUED, PREVIEW_EVERY_S, STEPS_EVERY_S, JobQueue
from everfold.streams.live.live_message import (
    Began,
    LiveMessage,
    NodeBegan,
    NodeState,
    Preview,
    PreviewNotice,
    States,
    Steps,
    Streamed,
)


def states(value: float, *, done: bool = False) -> States:
    return States({"1": NodeState(value, 8.0, done)})


def test_what_is_no_step_goes_at_once_with_all_that_came_before() -> None:
    queue = JobQueue(1)
    queue.add([Began(), states(0), NodeBegan("1"), Steps("1", 1, 8)])

    assert queue.due_in_s(0.0) == 0.0
    assert queue.take(0.0)[0] == [Began(), states(0), NodeBegan("1"), Steps("1", 1, 8)]
    assert queue.is_empty


def test_of_steps_the_newest_goes_ten_times_a_second() -> None:
    queue, sent = JobQueue(1), list[Streamed]()
    queue.add([states(0)])
    queue.take(0.0)
    for number in range(100):
        queue.add([states(number), Steps("1", number, 8)])
        sent += queue.take(1 + number / 128)[0]

    pairs = [(states(at), Steps("1", at, 8)) for at in (0, 13, 26, 39, 52, 65, 78, 91)]
    assert sent == [message for pair in pairs for message in pair]


def test_a_node_that_has_finished_is_told_at_once() -> None:
    queue = JobQueue(1)
    queue.add([states(0)])
    queue.take(0.0)
    queue.add([states(1)])
    assert queue.due_in_s(0.0) == STEPS_EVERY_S
    queue.add([states(8, done=True)])
    assert queue.take(0.0)[0] == [states(1), states(8, done=True)]


def test_steps_of_two_nodes_at_work_do_not_hide_each_other() -> None:
    queue = JobQueue(1)
    queue.add([Steps("1", 1, 8), Steps("2", 1, 8), Steps("1", 2, 8)])
    assert queue.take(1.0)[0] == [Steps("2", 1, 8), Steps("1", 2, 8)]


def test_of_previews_there_is_one_four_times_a_second() -> None:
    queue = JobQueue(1)
    first, second, third = (Preview("1", "image/png", bytes([n])) for n in range(3))
    queue.add([first])
    assert queue.take(0.0) == ([PreviewNotice()], first)
    queue.add([second, third])
    assert queue.take(0.1) == ([], None)
    assert queue.due_in_s(0.1) == PREVIEW_EVERY_S - 0.1
    assert queue.take(PREVIEW_EVERY_S) == ([PreviewNotice()], third)


def test_the_oldest_is_dropped() -> None:
    queue = JobQueue(1)
    queue.add(NodeBegan(str(number)) for number in range(MOST_QUEUED + 3))
    taken, _ = queue.take(0.0)
    assert len(taken) == MOST_QUEUED
    assert taken[0] == NodeBegan("3")


MESSAGES = st.one_of(
    st.builds(NodeBegan, st.sampled_from("12")),
    st.builds(Steps, st.sampled_from("12"), st.floats(0, 8), st.just(8.0)),
    st.builds(lambda value: states(value), st.floats(0, 8)),
)


@given(st.lists(st.tuples(MESSAGES, st.booleans()), max_size=40))
def test_what_goes_is_a_part_of_what_came_in_its_order_and_ends_with_the_newest(
    told: list[tuple[Streamed, bool]],
) -> None:
    queue, sent, now_s = JobQueue(1), list[Streamed](), 0.0
    for message, takes in told:
        queue.add([cast("LiveMessage", message)])
        now_s += 0.03
        if takes:
            sent += queue.take(now_s)[0]
    sent += queue.take(now_s + 1)[0]

    came = iter([message for message, _ in told])
    assert all(message in came for message in sent), "each comes after the one before it"
    no_steps = [message for message, _ in told if isinstance(message, NodeBegan)]
    assert [message for message in sent if isinstance(message, NodeBegan)] == no_steps
    if told:
        assert sent[-1] == told[-1][0]
