"""What Sentinels and servers say, in order and out of it."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.nodes.endpoint import Endpoint
from everfold.streams.nodes.sentinel_replies import (
    Named,
    in_order,
    is_agreed,
    is_primary,
    read_named,
    read_switch,
)
from everfold.streams.nodes.topology import newest, read_redirect, read_topology

A, B = Endpoint("a", 1), Endpoint("b", 2)

ANSWERS = st.recursive(
    st.none() | st.integers() | st.binary(max_size=8) | st.sampled_from((b"master", b"ip", 0)),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def test_the_newest_primary_comes_first_then_the_one_that_most_name() -> None:
    assert in_order([Named(A, 3), Named(A, 3), Named(B, 4)]) == [B, A]
    assert in_order([Named(B, 3), Named(A, 3), Named(A, 3)]) == [A, B]
    assert is_agreed([Named(A, 1), Named(A, 2)], of=3)
    assert not is_agreed([Named(A, 1), Named(B, 1)], of=3)


def test_a_sentinel_names_a_primary() -> None:
    master = [b"ip", b"a", b"config-epoch", b"7"]
    assert read_named([[b"a", b"1"], master]) == Named(A, 7)
    assert read_named([[b"a", b"1"], ValueError("NOPERM")]) == Named(A, 0)
    assert read_named([None, None]) is None
    each = [[b"flags", flags] for flags in (b"slave", b"s_down,slave", b"slave,disconnected")]
    whole = [*master, b"num-other-sentinels", b"2"]
    assert read_named([[b"a", b"1"], whole, each]) == Named(A, 7, 3, replicas=3, living=1)
    assert read_switch(b"main old 1 b 2") == ("main", B)
    assert read_switch(b"main old 1 b x") is None
    assert is_primary([b"master", 0, []])
    assert not is_primary([b"slave", b"a", 1, b"connected", 0])


@given(ANSWERS)
def test_no_answer_is_too_strange(answer: object) -> None:
    is_primary(answer)
    read_switch(answer)
    read_named([[b"a", b"1"], answer, answer])
    read_named(cast("list[object]", answer) if isinstance(answer, list) else [])
    read_topology([answer, answer], A)
    read_topology([[answer, answer]], A)


def test_a_node_says_who_has_which_slot() -> None:
    rows = [
        [0, 99, [b"a", 1, b"id", []], [b"r", 3, b"id"]],
        [100, 16383, [b"", 7, b"id"]],
        [5, 3, [b"x", 1]],
        [0, 99999, [b"x", 1]],
        [0, 5, [b"x", 0]],
    ]
    info = b"cluster_state:fail\r\ncluster_current_epoch:12\r\n"
    found = read_topology([rows, info], Endpoint("h", 6379))

    assert found is not None
    assert (found.is_ok, found.epoch) == (False, 12)
    assert (found.owners[6], found.owners[100]) == (A, Endpoint("h", 7))
    assert found.primaries == {A, Endpoint("h", 7)}
    assert found.replicas == {Endpoint("r", 3)}
    assert found.followers == {A: 1, Endpoint("h", 7): 0}
    other = read_topology([rows[1:2], info], Endpoint("h", 6379))
    assert other is not None
    assert newest([other, found]).followers == {Endpoint("h", 7): 0}
    assert newest([found, other]).followers == {A: 1, Endpoint("h", 7): 0}
    assert read_topology([[], info], A) is None


def test_a_node_without_a_name_may_have_an_ip() -> None:
    row = [0, 16383, [b"?", 7, b"id", [b"ip", b"10.0.0.9"]]]
    found = read_topology([[row]], A)
    assert found is not None
    assert found.primaries == {Endpoint("10.0.0.9", 7)}


@pytest.mark.parametrize(
    ("reply", "to"),
    [
        ("MOVED 5 10.0.0.1:7", "10.0.0.1:7"),
        ("MOVED 5 ::1:7", "[::1]:7"),
        ("MOVED 5 :7", "a:7"),
        ("MOVED 5 ?:7", "a:7"),
        ("ASK 5 h.example:7", "h.example:7"),
        ("MOVED 99999 h:7", ""),
        ("MOVED 5 h:0", ""),
        ("MOVED 5 h", ""),
        ("ERR MOVED 5 h:7", ""),
    ],
)
def test_a_node_sends_elsewhere(reply: str, to: str) -> None:
    found = read_redirect(reply, A)
    assert str(found.to if found else "") == to
    assert found is None or found.is_moved == reply.startswith("MOVED")
