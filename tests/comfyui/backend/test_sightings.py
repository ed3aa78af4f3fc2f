"""Hints about one prompt, merged until asked for."""

from __future__ import annotations

import pytest

from everfold.runner.backend import SavedOutput, Sighting
from everfold.runner.comfyui import messages as said
from everfold.runner.comfyui.graph import read_plan
from everfold.runner.comfyui.sightings import Sightings
from tests.comfyui.backend.test_graph import TEXT_TO_IMAGE


@pytest.fixture
def sightings() -> Sightings:
    return Sightings("p", read_plan(TEXT_TO_IMAGE))


def test_nothing_seen_is_an_empty_sighting(sightings: Sightings) -> None:
    assert not sightings.has_news
    assert sightings.merge() == Sighting()


def test_messages_of_other_prompts_count_nothing(sightings: Sightings) -> None:
    for message in [
        said.ExecutionStart(prompt_id="q"),
        said.ProgressValue(prompt_id="q", node="sampler", value=1, max=2),
        said.Executed(prompt_id="q", node="save", output={}),
        said.ExecutionSuccess(prompt_id="q"),
        said.Preview(prompt_id="q"),
        said.Preview(),
        said.NodeText(node="x"),
        said.Unknown(name="status"),
        said.Garbage(why=""),
    ]:
        sightings.add(message)
    assert sightings.merge() == Sighting()


def test_only_the_newest_progress_and_every_output_are_kept(sightings: Sightings) -> None:
    sightings.add(said.ExecutionStart(prompt_id="p"))
    for value in range(21):
        message = said.ProgressValue(prompt_id="p", node="sampler", value=value, max=20)
        sightings.add(message)
    sightings.add(said.Executed(prompt_id="p", node="save", output={"images": [1]}))
    sightings.add(said.Executed(prompt_id="p", node="preview", output={"images": [2]}))
    sighting = sightings.merge()
    assert sighting.started
    assert sighting.progress is not None
    assert sighting.progress.step == 20
    assert sighting.saved == (
        SavedOutput("save", {"images": [1]}),
        SavedOutput("preview", {"images": [2]}),
    )
    assert not sightings.has_news
    assert sightings.merge() == Sighting(started=True, executed=frozenset({"preview", "save"}))


def test_a_cached_output_node_without_an_output_saves_nothing(sightings: Sightings) -> None:
    sightings.add(said.Executed(prompt_id="p", node="save", output=None))
    assert sightings.merge().saved == ()


@pytest.mark.parametrize(
    "message",
    [
        said.ExecutionSuccess(prompt_id="p"),
        said.ExecutionError(prompt_id="p", exception_type="ValueError"),
        said.ExecutionInterrupted(prompt_id="p"),
        said.Executing(prompt_id="p", node=None),
    ],
)
def test_an_end_asks_for_the_truth_once(sightings: Sightings, message: said.Message) -> None:
    sightings.add(message)
    assert sightings.has_news
    assert sightings.merge().ask_truth
    assert not sightings.merge().ask_truth


def test_what_came_before_the_prompt_was_posted_asks_for_nothing(sightings: Sightings) -> None:
    sightings.miss()
    sightings.begin()
    assert not sightings.merge().ask_truth
    sightings.miss()
    assert sightings.merge().ask_truth, "a connection that breaks later may have told the end"


def test_an_end_is_settled_once_the_server_is_done_with_the_prompt(sightings: Sightings) -> None:
    sightings.add(said.ExecutionSuccess(prompt_id="p"))
    sighting = sightings.merge()
    assert (sighting.is_over, sighting.is_settled) == (True, False)
    sightings.add(said.Executing(prompt_id="p", node=None))
    sighting = sightings.merge()
    assert (sighting.ask_truth, sighting.is_settled) == (True, True)


def test_a_blocked_node_does_not_ask_for_the_truth(sightings: Sightings) -> None:
    message = said.ExecutionError(prompt_id="p", exception_type="ExecutionBlocked")
    sightings.add(message)
    assert not sightings.merge().ask_truth


def test_the_nameless_word_on_reconnect_says_that_it_runs(sightings: Sightings) -> None:
    sightings.add(said.Executing(node="sampler"))
    sighting = sightings.merge()
    assert sighting.started
    assert sighting.progress is not None
    assert sighting.progress.node_class == "KSampler"


def test_a_preview_is_no_news(sightings: Sightings) -> None:
    for message in [said.Preview(), said.Preview(prompt_id="p"), said.NodeText(node="sampler")]:
        sightings.add(message)
        assert not sightings.has_news


def test_outputs_that_the_server_dropped_are_not_work(sightings: Sightings) -> None:
    sightings.drop_outputs(frozenset({"preview"}))
    sightings.add(said.ExecutionStart(prompt_id="p"))
    progress = sightings.merge().progress
    assert progress is not None
    assert progress.nodes_total == 4


def test_progress_without_a_prompt_counts_for_the_prompt_that_runs(sightings: Sightings) -> None:
    custom = said.ProgressValue(node_id="sampler", value=5, max=20)
    sightings.add(custom)
    assert sightings.merge() == Sighting(), "it does not run yet"
    sightings.add(said.ExecutionStart(prompt_id="p"))
    sightings.add(custom)
    progress = sightings.merge().progress
    assert progress is not None
    assert (progress.node, progress.step) == ("sampler", 5)
    sightings.add(said.ExecutionSuccess(prompt_id="p"))
    sightings.add(said.ProgressValue(node="sampler", value=9, max=20))
    assert sightings.merge().progress is None, "it is over: another prompt runs"


def test_success_is_told_only_with_every_output_that_the_server_names(
    sightings: Sightings,
) -> None:
    sightings.learn_outputs(frozenset({"save", "preview"}))
    sightings.add(said.ExecutionStart(prompt_id="p"))
    sightings.add(said.ExecutionSuccess(prompt_id="p"))
    assert not sightings.merge().succeeded
    sightings.add(said.Executed(prompt_id="p", node="save", output={"images": []}))
    assert not sightings.merge().succeeded
    sightings.add(said.ExecutionCached(prompt_id="p", nodes=["preview"]))
    assert sightings.merge().succeeded
    assert sightings.merge().succeeded, "it stays so"


def test_outputs_alone_are_no_success(sightings: Sightings) -> None:
    sightings.learn_outputs(frozenset({"save"}))
    sightings.add(said.Executed(prompt_id="p", node="save", output={"images": []}))
    sightings.add(said.ExecutionSuccess(prompt_id="another"))
    assert not sightings.merge().succeeded


def test_a_new_connection_was_not_heard_yet(sightings: Sightings) -> None:
    sightings.hear()
    assert sightings.merge().heard
    sightings.miss()
    assert not sightings.merge().heard
