"""What is passed on, as JSON."""

from __future__ import annotations

import pytest

from everfold.streams.live.live_message import (
    Began,
    NodeOutput,
    NodeState,
    States,
    Steps,
    Streamed,
    decoded,
    encoded,
)


@pytest.mark.parametrize(
    "message",
    [
        Began(),
        Steps("1", 2, 3),
        NodeOutput("3", "4", {"text": ["a"]}),
        NodeOutput("3"),
        States({"1": NodeState(1, 8, True, "a", "b", "c"), "2": NodeState()}),
    ],
)
def test_what_is_written_is_read(message: Streamed) -> None:
    text = encoded(message)
    assert text is not None
    assert decoded(text) == message


def test_the_states_of_a_large_graph_are_one_message() -> None:
    assert encoded(States({str(node): NodeState(1.0, 1.0, True) for node in range(500)}))


def test_what_is_too_large_or_no_json_is_left_out() -> None:
    assert encoded(NodeOutput("1", output={"text": "x" * 40_000})) is None
    for text in (b"", b"null", b"[]", b'{"t":"steps"}', b'{"t":"none"}', b"{" * 9, b"x" * 40_000):
        assert decoded(text) is None
