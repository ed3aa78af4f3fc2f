"""What runs, what waits, and in which order."""

from __future__ import annotations

import pytest
from hypothesis import given

from everfold.runner.backend import Load, Pending, Running
from everfold.runner.comfyui.truth import NotUnderstood, Queue, read_queue
from tests.comfyui.hostile.test_loose_json import JSON_VALUES


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
    assert read.load() == Load(running=1, pending=4, running_ids=("a",))


def test_equal_numbers_go_by_id() -> None:
    read = queue([], [[5, "b", {}], [5, "a", {}]])
    assert read.find("b") == Pending(1)


def test_running_wins_over_a_second_entry_of_the_same_id() -> None:
    assert queue([[1, "a", {}]], [[2, "a", {}]]).find("a") == Running()


def test_outputs_are_known_from_the_queue_with_five_fields_or_six() -> None:
    read = queue([[1, "a", {}, {}, ["6", "7"]]], [[2, "b", {}, {}, ["4"], {"sensitive": 1}]])
    assert read.running[0].outputs == {"6", "7"}
    assert read.pending[0].outputs == {"4"}


def test_an_infinite_number_that_a_client_asked_for_runs_last() -> None:
    assert queue([], [[None, "b", {}], [5, "a", {}]]).find("b") == Pending(1)


DEEP: list[object] = []
for _ in range(900):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "item",
    [
        {"prompt_id": "a", "number": 1},
        [1, 5, {}, {}, []],
        [1, None, {}, {}, []],
        [1, ["a"], {}, {}, []],
        ["1", "a", {}, {}, []],
        [True, "a", {}, {}, []],
        [10**400, "a", {}, {}, []],
        [[1, "a"], {}],
        DEEP,
        [1],
        [],
        "a",
        None,
        7,
    ],
)
@pytest.mark.parametrize("place", ["queue_running", "queue_pending"])
def test_one_item_that_makes_no_sense_makes_the_whole_queue_unknown(
    place: str, item: object
) -> None:
    good: object = [0, "b", {}, {}, []]
    body = {"queue_running": [good], "queue_pending": [], place: [good, item]}
    with pytest.raises(NotUnderstood):
        read_queue(body)


@pytest.mark.parametrize(
    "body",
    [
        {"exec_info": {"queue_remaining": 0}},
        {"queue_running": []},
        {"queue_running": {}, "queue_pending": []},
        {"queue_running": [], "queue_pending": None},
        {"queue_running": "", "queue_pending": []},
        [[], []],
        None,
    ],
)
def test_an_answer_of_something_else_is_no_queue(body: object) -> None:
    with pytest.raises(NotUnderstood):
        read_queue(body)


@given(JSON_VALUES, JSON_VALUES)
def test_any_queue_is_read_or_not_understood(running: object, pending: object) -> None:
    try:
        read = read_queue({"queue_running": running, "queue_pending": pending})
    except NotUnderstood:
        return
    assert isinstance(running, list)
    assert isinstance(pending, list)
    assert (len(read.running), len(read.pending)) == (len(running), len(pending))
