"""What runs, what waits, and in which order."""

from __future__ import annotations

from hypothesis import given

from everfold.runner.backend import Load, Pending, Running
from everfold.runner.comfyui.truth import Queue, read_queue
from tests.comfyui.test_loose_json import JSON_VALUES


def queue(running: list[object], pending: list[object]) -> Queue:
    read = read_queue({"queue_running": running, "queue_pending": pending})
    assert read is not None
    return read


def test_positions_follow_number_and_id_and_not_the_heap() -> None:
    # As recorded: the heap array was -35, 32, 34, 33.
    read = queue(
        [[31, "a", {}, {}, []]],
        [[-35, "e", {}, {}, []], [32, "b", {}, {}, []], [34, "d", {}], [33, "c", {}, {}, []]],
    )
    assert read.find("a") == Running()
    assert [read.find(name) for name in "ebcd"] == [Pending(0), Pending(1), Pending(2), Pending(3)]
    assert read.find("x") is None
    assert read.load() == Load(running=1, pending=4)


def test_equal_numbers_go_by_id() -> None:
    read = queue([], [[5, "b", {}], [5, "a", {}]])
    assert read.find("b") == Pending(1)


def test_running_wins_over_a_second_entry_of_the_same_id() -> None:
    assert queue([[1, "a", {}]], [[2, "a", {}]]).find("a") == Running()


def test_outputs_are_known_from_the_queue_with_five_fields_or_six() -> None:
    read = queue([[1, "a", {}, {}, ["6", "7"]]], [[2, "b", {}, {}, ["4"], {"sensitive": 1}]])
    assert read.running[0].outputs == {"6", "7"}
    assert read.pending[0].outputs == {"4"}


def test_an_answer_of_something_else_is_no_queue() -> None:
    assert read_queue({"exec_info": {"queue_remaining": 0}}) is None
    assert read_queue(None) is None


@given(JSON_VALUES, JSON_VALUES)
def test_any_queue_can_be_read(running: object, pending: object) -> None:
    assert read_queue({"queue_running": running, "queue_pending": pending}) is not None
