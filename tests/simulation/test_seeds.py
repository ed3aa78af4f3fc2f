"""Seeded schedules, thousands in full length; `python -m tests.simulation` runs more of them."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from tests.simulation.breakages import CUT_OFF, LEFT_RUNNING, STALLING, UPGRADING
from tests.simulation.faults import KINDS, Weather
from tests.simulation.invariants import Violation
from tests.simulation.world import Options, World

WINDOWS = Options(weather=Weather(kinds=("freeze", "block"), per_job_step=0.15))


def first_violation(seeds: range, options: Options | None = None) -> str:
    for seed in seeds:
        try:
            World(seed, options).run()
        except Violation as violation:
            return f"seed {seed}: {violation}"
    return ""


@pytest.fixture
def seeds(full_length: bool) -> range:
    return range(10_000 if full_length else 300)


@pytest.mark.slow
def test_no_schedule_breaks_an_invariant(seeds: range) -> None:
    begun_s, steps, faults = time.perf_counter(), 0, set[str]()
    for seed in seeds:
        world = World(seed)
        try:
            world.run()
        except Violation as violation:
            pytest.fail(f"seed {seed}: {violation}; python -m tests.simulation --from {seed}")
        steps += world.agenda.steps
        faults |= world.faults.struck.keys()
    took_s = time.perf_counter() - begun_s
    print(f"{len(seeds) / took_s:,.0f} schedules/s, {steps / took_s:,.0f} steps/s")

    assert faults == set(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "weather", [STALLING, CUT_OFF, UPGRADING], ids=["stalling", "cut off", "upgrading"]
)
def test_no_schedule_breaks_an_invariant_in_bad_weather(weather: Weather, seeds: range) -> None:
    assert first_violation(seeds[: len(seeds) // 2], Options(weather=weather)) == ""


@pytest.mark.slow
def test_prompts_that_were_given_up_are_stopped_when_their_backend_is_seen_again(
    seeds: range,
) -> None:
    assert first_violation(seeds[: len(seeds) // 3], LEFT_RUNNING) == ""


def test_a_seed_always_gives_the_same_run() -> None:
    options = Options(is_tracing=True)

    assert World(7, options).run().trace == World(7, options).run().trace != []


def test_tracing_changes_nothing() -> None:
    assert World(7, Options(is_tracing=True)).run().agenda.steps == World(7).run().agenda.steps


@pytest.mark.slow
def test_only_the_window_between_the_last_look_and_the_last_byte_stays_open(seeds: range) -> None:
    """ComfyUI knows no fencing: a runner that freezes in that window may send too late."""
    assert first_violation(seeds, WINDOWS) == ""
    assert first_violation(seeds, replace(WINDOWS, window_ms=1)) != ""
