from __future__ import annotations

from everfold.streams.redis.retry import Backoff


def test_each_wait_is_half_to_all_of_a_step_that_doubles_up_to_its_limit() -> None:
    backoff = Backoff(first_s=0.1, most_s=1.0)
    for step_s in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0):
        assert step_s / 2 <= backoff.next_s() <= step_s


def test_after_a_success_it_begins_again() -> None:
    backoff = Backoff(first_s=0.1, most_s=1.0)
    for _ in range(9):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_many_clients_do_not_return_at_once() -> None:
    assert len({Backoff(first_s=1.0).next_s() for _ in range(50)}) > 40
