"""Progress is the share of the time that has passed, once a run of the same kind was seen.

The error is the mean of |value - share of the time| over what a watcher sees each 0.05 s.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.comfyui import messages as said
from everfold.runner.comfyui.graph import read_plan
from everfold.runner.comfyui.progress import HIGHEST
from everfold.runner.comfyui.sightings import Sightings
from everfold.runner.costs.node_cost import NodeCost
from tests.comfyui.recordings.recording import NAMES
from tests.comfyui.recordings.timed_runs import SAMPLE_S, TimedRun, Work, made_run, recorded_runs

TWO_SAMPLERS = {
    "model": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.ckpt"}},
    "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}},
    "fast": {
        "class_type": "KSampler",
        "inputs": {"model": ["model", 0], "latent_image": ["latent", 0], "steps": 20},
    },
    "slow": {
        "class_type": "KSampler",
        "inputs": {"model": ["model", 0], "latent_image": ["fast", 0], "steps": 20, "denoise": 0.5},
    },
    "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["slow", 0]}},
    "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0]}},
}
RUNS = [run for name in NAMES for run in recorded_runs(name) if run.took_s > 0.5]


def run(load_s: float = 0.0, decode_s: float = 0.3, slower: float = 1.0) -> TimedRun:
    """A run in which a step of one sampler takes ten times as long as one of the other."""
    return made_run(
        TWO_SAMPLERS,
        Work("model", before_s=0.1 * slower),
        Work("latent"),
        Work("fast", before_s=load_s, steps=20, step_s=0.03 * slower),
        Work("slow", steps=20, step_s=0.3 * slower),
        Work("decode", before_s=decode_s * slower),
        Work("save", before_s=0.05 * slower),
    )


def test_two_unlike_samplers_are_measured_by_what_they_took() -> None:
    assert run().error() > 0.15
    assert run().error(run().taught()) <= 0.05


def test_a_tail_that_tells_nothing_goes_on_by_the_time() -> None:
    deaf = run(decode_s=6.0)
    assert deaf.error() > 0.2
    assert deaf.error(deaf.taught()) <= 0.08


@pytest.mark.parametrize("slower", [0.4, 3.0])
def test_a_server_of_another_speed_is_followed(slower: float) -> None:
    costs = run(decode_s=6.0).taught()
    assert run(decode_s=6.0, slower=slower).error(costs) <= 0.08


def test_a_run_that_loaded_the_model_teaches_nothing_wrong() -> None:
    costs = run(load_s=15.0).taught()
    assert run().error(costs) <= 0.05


def test_long_steps_go_on_by_the_time_and_never_as_far_as_the_next_one() -> None:
    others = [Work(name) for name in TWO_SAMPLERS if name != "slow"]
    slow = made_run(TWO_SAMPLERS, *others[:3], Work("slow", steps=4, step_s=5.0), *others[3:])
    values = slow.values(slow.taught())
    assert slow.error(slow.taught()) <= 0.05
    for at_s, value in values:
        done = int((at_s + SAMPLE_S) / 5.0 + 1e-9)
        assert value <= (done + 1) / 4


def test_recorded_runs_are_measured_by_an_earlier_one() -> None:
    errors = [run.error(run.taught()) for run in RUNS]
    assert len(errors) >= 14
    assert sum(errors) / len(errors) <= 0.05
    assert max(errors) <= 0.08
    # Once each, without what was learned.
    assert sum(run.error() for run in RUNS) / len(RUNS) > 0.05


def test_five_recorded_runs_of_one_kind_teach_the_next_one() -> None:
    for before, after in pairwise(recorded_runs("queue-of-5")):
        assert after.error(before.taught()) <= 0.05


@pytest.mark.parametrize("decode_s", [0.3, 6.0])
def test_the_value_never_falls_and_ends_below_one(decode_s: float) -> None:
    told = run(decode_s=decode_s)
    for costs in ({}, told.taught(), run(decode_s=0.1).taught(), run(load_s=9.0).taught()):
        values = [value for _, value in told.values(costs)]
        assert values == sorted(values)
        assert values[-1] <= HIGHEST


def test_the_seconds_left_are_those_that_are_left() -> None:
    told = run(decode_s=6.0)
    seen = [(at_s, s.progress or s.estimate) for at_s, s in told.watch(told.taught())]
    left = [(at_s, p.left_s) for at_s, p in seen if p is not None and p.left_s is not None]
    assert len(left) > 50
    assert all(abs(left_s - (told.took_s - at_s)) <= 2 for at_s, left_s in left)
    assert all(left_s >= 1 for _, left_s in left)


def test_the_seconds_left_are_not_told_where_most_of_the_work_is_unknown() -> None:
    told = run()
    known = {name: cost for name, cost in told.taught().items() if name != "slow"}
    assert all((s.progress is None or s.progress.left_s is None) for _, s in told.watch())
    half = [s.progress.left_s for _, s in told.watch(known) if s.progress is not None]
    assert half[0] is None


def test_what_only_the_time_moves_is_no_sign_of_life_and_comes_in_steps() -> None:
    told = run(decode_s=6.0)
    after = [(at_s, s) for at_s, s in told.watch(told.taught()) if 7.0 < at_s < 12.5]
    assert [s.progress for _, s in after if s.progress is not None] == []
    moved = [s.estimate.value for _, s in after if s.estimate is not None]
    assert len(moved) > 20
    assert all(high - low >= 0.01 for low, high in pairwise(moved))


def test_cached_nodes_and_those_of_an_interrupt_teach_nothing() -> None:
    whole = run()
    cut = [told for told in whole.messages if told[0] < 3.0]
    messages = [*cut, (3.0, said.ExecutionInterrupted(prompt_id="p"))]
    costs = TimedRun(whole.graph, messages).taught()
    assert costs.keys() == {"model", "latent", "fast"}
    cached = [
        (0.0, said.ExecutionStart(prompt_id="p")),
        (0.0, said.ExecutionCached(prompt_id="p", nodes=["model", "fast"])),
        (0.1, said.ExecutionSuccess(prompt_id="p")),
    ]
    assert TimedRun(whole.graph, cached).taught() == {}


def test_a_node_whose_beginning_was_not_seen_teaches_nothing() -> None:
    whole = run()
    costs = TimedRun(whole.graph, [told for told in whole.messages if told[0] > 3.0]).taught()
    assert costs.keys() == {"decode", "save"}
    assert "slow" not in _with_gap(whole, 3.0)
    assert "decode" in _with_gap(whole, 3.0)


def _with_gap(whole: TimedRun, at_s: float) -> dict[str, NodeCost]:
    """Return what is learned where the connection broke for a moment."""
    sightings = Sightings("p", read_plan(whole.workflow))
    for came_at_s, message in whole.messages:
        if abs(came_at_s - at_s) < 0.2:
            sightings.miss()
        sightings.add(message, at_s=came_at_s)
    return dict(sightings.merge(whole.took_s).node_costs)


times = st.one_of(st.floats(), st.floats(-1e9, 1e9))
costs = st.builds(
    NodeCost,
    before_s=st.floats(0, 1e6),
    step_s=st.floats(0, 1e6),
    steps=st.sampled_from([0.0, 1.0, 20.0, 1e6]),
    after_s=st.floats(0, 1e6),
    count=st.integers(1, 3),
    is_same_work=st.booleans(),
)


@given(
    st.lists(times, min_size=60, max_size=60),
    st.dictionaries(st.sampled_from([*TWO_SAMPLERS, "odd"]), costs),
)
def test_clocks_that_jump_break_nothing(clock: list[float], costs: dict[str, NodeCost]) -> None:
    whole = run()
    sightings, values = Sightings("p", read_plan(whole.workflow), costs), [0.0]
    for at_s, (_, message) in zip(clock, whole.messages, strict=False):
        sightings.add(message, at_s=at_s)
        sighting = sightings.merge(-at_s)
        for progress in (sighting.progress, sighting.estimate):
            if progress is not None:
                values.append(progress.value)
                assert progress.left_s is None or progress.left_s >= 1
    assert values == sorted(values)
    assert values[-1] <= HIGHEST
