from __future__ import annotations

import math

import pytest

from everfold.runner.decisions.suspects import Suspects


def test_a_runner_is_dead_after_it_was_missing_in_every_look_for_long_enough() -> None:
    suspects = Suspects(after_s=1.0)
    assert suspects.dead({"a", "b"}, {"everfold:b"}, now_s=0.0) == []
    assert suspects.dead({"a", "b"}, {"everfold:b"}, now_s=0.5) == []
    assert suspects.dead({"a", "b"}, {"everfold:b"}, now_s=1.0) == ["a"]


def test_a_reconnect_starts_the_count_anew() -> None:
    suspects = Suspects(after_s=1.0)
    suspects.dead({"a"}, set(), now_s=0.0)
    suspects.dead({"a"}, {"everfold:a"}, now_s=0.5)
    assert suspects.dead({"a"}, set(), now_s=1.2) == []
    assert suspects.dead({"a"}, set(), now_s=2.2) == ["a"]


def test_when_the_server_itself_was_away_everybody_is_forgiven() -> None:
    suspects = Suspects(after_s=1.0)
    suspects.dead({"a", "b"}, set(), now_s=0.0)
    suspects.forget()
    assert suspects.dead({"a", "b"}, set(), now_s=5.0) == []


def test_one_runner_can_be_forgotten_alone() -> None:
    suspects = Suspects(after_s=0.0)
    assert suspects.dead({"a", "b"}, set(), now_s=0.0) == ["a", "b"]
    suspects.forget("a")
    assert suspects.dead({"b"}, set(), now_s=0.1) == ["b"]


def test_the_next_look_is_when_the_first_that_is_missing_will_be_dead() -> None:
    suspects = Suspects(after_s=1.0)
    assert suspects.next_in_s(0.0) == math.inf
    suspects.dead({"a", "b"}, {"everfold:b"}, now_s=0.0)
    suspects.dead({"a", "b"}, set(), now_s=0.4)
    assert suspects.next_in_s(0.4) == pytest.approx(0.6)
    assert suspects.dead({"a", "b"}, set(), now_s=1.0) == ["a"]
    assert suspects.next_in_s(1.0) == pytest.approx(0.4), "who is dead already is not waited for"
