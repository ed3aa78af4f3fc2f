"""Nothing starves: simulated floods in front of every lane and partition."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streams.backoff import Backoff
from streams.fairness import lanes_of, partitions_of
from streams.ids import job_id_for, new_id, uuid_time_ms
from streams.keys import PRIORITIES

QUEUES = ("a", "b", "c")


@given(st.integers(0, 10_000))
def test_every_turn_looks_at_every_lane_and_partition(turn: int) -> None:
    lanes = lanes_of(turn, QUEUES)
    assert sorted(lanes) == sorted((queue, p) for queue in QUEUES for p in PRIORITIES)
    assert sorted(partitions_of(turn, 8)) == list(range(8))


def test_every_lane_is_in_front_again_and_again_however_full_the_others_are() -> None:
    front = [lanes_of(turn, QUEUES)[0] for turn in range(240)]
    assert set(front) == {(queue, priority) for queue in QUEUES for priority in PRIORITIES}


def test_high_goes_first_in_most_turns() -> None:
    front = [lanes_of(turn, QUEUES)[0][1] for turn in range(80)]
    assert front.count("high") == 60
    assert front.count("normal") == front.count("low") == 10


def test_back_off_grows_to_its_limit_and_begins_again() -> None:
    backoff = Backoff(first_s=0.1, most_s=1.0)
    waits = [backoff.next_s() for _ in range(10)]
    assert 0.05 <= waits[0] <= 0.1
    assert all(0.5 <= wait <= 1.0 for wait in waits[5:])
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_new_ids_sort_by_time_and_carry_it() -> None:
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert all(uuid_time_ms(a) <= uuid_time_ms(b) for a, b in pairwise(ids))
    assert ids[0][14] == "7"


def test_an_idempotency_key_belongs_to_its_namespace() -> None:
    assert job_id_for("a", "k") == job_id_for("a", "k")
    assert job_id_for("a", "k") != job_id_for("b", "k")
