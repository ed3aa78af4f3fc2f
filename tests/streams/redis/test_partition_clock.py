"""Which difference between two looks at the server's clock is a step of it."""

from __future__ import annotations

from everfold.streams.leases.partition_clock import ANCHOR_S, Look, PartitionClock

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


def look(after_ms: int, *, seen: int = 0, stepped: int = 0, unsure_to: int = 0) -> Look:
    return Look(START_MS + after_ms, START_MS + seen, stepped, unsure_to)


def begun() -> PartitionClock:
    clock = PartitionClock(10.0)
    assert clock.observe(look(0), 100.0, 100.1) == 0
    return clock


def test_a_clock_that_goes_on_as_time_does_has_not_been_set() -> None:
    clock = begun()
    for second in range(1, 200):
        assert clock.observe(look(1000 * second), 100.0 + second, 100.1 + second) == 0
    assert not clock.is_holding(300.0)


def test_a_step_is_found_in_either_direction_and_owners_get_a_lease() -> None:
    for step_ms in (HOUR_MS, -HOUR_MS):
        clock = begun()
        found = clock.observe(look(1000 + step_ms), 101.0, 101.1)
        assert abs(found - step_ms) < 200
        assert clock.is_holding(111.0)
        assert not clock.is_holding(111.2)


def test_a_late_answer_is_no_step() -> None:
    clock = begun()
    assert clock.observe(look(5000), 101.0, 105.0) == 0


def test_many_small_steps_add_up() -> None:
    clock, found = begun(), 0
    for second in range(1, 20):
        found = clock.observe(look(1400 * second), 100.0 + second, 100.0 + second)
        if found:
            break
    assert 2_000 < found < 3_000


def test_a_clock_that_drifts_is_followed() -> None:
    clock, now_s = begun(), 100.0
    for number in range(1, 50):
        now_s += ANCHOR_S + 1
        elapsed_ms = int((ANCHOR_S + 1) * 1000 * number)
        drift_ms = 500 * number
        assert clock.observe(look(elapsed_ms + drift_ms), now_s, now_s) == 0


def test_a_step_that_somebody_has_recorded_is_not_recorded_again() -> None:
    clock = begun()
    shown = look(1000 + HOUR_MS, stepped=HOUR_MS, unsure_to=START_MS + HOUR_MS)
    assert clock.observe(shown, 101.0, 101.1) == 0
    assert clock.is_holding(105.0)
    assert clock.unsure_to_ms == START_MS + HOUR_MS


def test_of_two_steps_only_the_one_that_nobody_has_recorded_is_told() -> None:
    clock = begun()
    found = clock.observe(look(1000 + 3 * HOUR_MS, stepped=2 * HOUR_MS), 101.0, 101.1)
    assert abs(found - HOUR_MS) < 200


def test_a_process_that_starts_finds_a_clock_that_was_set_back() -> None:
    clock = PartitionClock(10.0)
    assert clock.observe(look(0, seen=HOUR_MS), 100.0, 100.1) == -HOUR_MS
    assert not clock.is_known


def test_a_process_that_starts_says_when_nobody_had_looked_for_a_while() -> None:
    for seen_ms, was_unseen in ((-9_000, False), (-HOUR_MS, True)):
        clock = PartitionClock(10.0)
        clock.observe(look(0, seen=seen_ms), 100.0, 100.1)
        assert clock.was_unseen == was_unseen


def test_a_time_that_cannot_be_explained_makes_what_lies_before_it_unsure() -> None:
    clock = begun()
    clock.doubt(START_MS + 3_000, 102.0)
    assert clock.unsure_to_ms == 0
    clock.doubt(START_MS + HOUR_MS, 102.0)
    assert clock.unsure_to_ms == START_MS + HOUR_MS


def test_what_is_explained_goes_on_with_the_time() -> None:
    clock = begun()
    assert clock.latest_ms(110.0) == START_MS + 12_000
    assert PartitionClock(10.0).latest_ms(110.0) == 0
    assert clock.wants_look(START_MS + 7_000, 110.0)
    assert not clock.wants_look(START_MS + 9_000, 110.0)
