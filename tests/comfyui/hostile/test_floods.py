"""A websocket that floods its client takes little of a core, little memory, and delays nothing."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from everfold.runner.backend import SavedOutput
from everfold.runner.comfyui import messages as said
from everfold.runner.comfyui.graph import read_plan
from everfold.runner.comfyui.sightings import MOST_OTHER_NODES, MOST_OUTPUT_BYTES, Sightings
from tests.comfyui.backend.test_graph import TEXT_TO_IMAGE
from tests.comfyui.hostile.floods import FLOODS, Cost
from tests.support.programs.programs import ROOT

SIDE_BY_SIDE = 5


def costs_of(*names: str) -> dict[str, Cost]:
    begun = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.comfyui.hostile.floods", *names[start::SIDE_BY_SIDE]],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        for start in range(min(SIDE_BY_SIDE, len(names)))
    ]
    costs = dict[str, Cost]()
    for start, program in enumerate(begun):
        lines = program.communicate()[0].splitlines()
        told = zip(names[start::SIDE_BY_SIDE], lines, strict=True)
        costs |= {name: msgspec.json.decode(line, type=Cost) for name, line in told}
    return costs


@pytest.mark.long
def test_ten_thousand_frames_a_second_take_a_third_of_a_core_and_hide_no_end() -> None:
    cost = costs_of("promised")["promised"]
    assert cost.has_ended
    assert cost.cpu_share < 0.3, cost


@pytest.mark.long
def test_no_flood_takes_much_memory_or_keeps_the_event_loop_waiting() -> None:
    for name, cost in costs_of(*(name for name in FLOODS if name != "promised")).items():
        assert cost.stall_s < 0.3, (name, cost)
        assert cost.peak_mib < 150, (name, cost)
        assert cost.cpu_share < 0.4, (name, cost)


def test_made_up_nodes_are_kept_up_to_a_limit_and_those_of_the_graph_always() -> None:
    sightings = Sightings("p", read_plan(TEXT_TO_IMAGE))
    for number in range(3 * MOST_OTHER_NODES):
        sightings.add(said.Executed(prompt_id="p", node=f"made-up-{number}", output={}))
    sightings.add(said.Executed(prompt_id="p", node="n" * 300, output={}))
    sightings.add(said.Executed(prompt_id="p", node="save", output={"images": []}))
    saved = sightings.merge().saved
    assert len(saved) == MOST_OTHER_NODES + 1
    assert SavedOutput("save", {"images": []}) in saved


def test_outputs_beyond_a_size_are_left_to_the_history() -> None:
    sightings = Sightings("p", read_plan(TEXT_TO_IMAGE))
    message = said.Executed(prompt_id="p", node="save", output={"a": 1})
    sightings.add(message, MOST_OUTPUT_BYTES)
    assert sightings.merge().saved
    sightings.add(message, 1)
    assert not sightings.merge().saved


def test_steps_that_nobody_counts_are_left_out() -> None:
    sightings = Sightings("p", read_plan(TEXT_TO_IMAGE))
    for top in (1e308, 1e300, 10**15):
        sightings.add(said.ProgressValue(prompt_id="p", node="sampler", value=top, max=top))
    progress = sightings.merge().progress
    assert progress is not None
    assert (progress.step, progress.steps) == (None, None)
