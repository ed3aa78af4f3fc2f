"""Progress is honest: by work ahead, never backwards, never done before the end."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.comfyui import messages as said
from everfold.runner.comfyui.graph import read_plan
from everfold.runner.comfyui.progress import (
    HIGHEST,
    Tally,
    evolve,
    learn_outputs,
    new_tally,
    report,
)
from tests.comfyui.backend.test_graph import TEXT_TO_IMAGE
from tests.comfyui.recordings.recording import NAMES, Recording

NODES = ["model", "sampler", "decode", "save", "preview"]
TOTAL = 24
"""Weight of TEXT_TO_IMAGE: four ordinary nodes and twenty steps."""


def fold(*messages: said.Message, workflow: bytes = TEXT_TO_IMAGE) -> Tally:
    tally = new_tally(read_plan(workflow))
    for message in messages:
        tally = evolve(tally, message)
    return tally


def state(**nodes: tuple[float, float, str]) -> said.ProgressState:
    return said.ProgressState(
        nodes={
            name: said.NodeState(value=value, max=top, state=word)
            for name, (value, top, word) in nodes.items()
        }
    )


def test_the_denominator_is_the_weight_of_what_runs() -> None:
    tally = fold(state(model=(1, 1, "finished"), sampler=(5, 20, "running")))
    progress = report(tally)
    assert progress.value == pytest.approx((1 + 5) / TOTAL)
    assert (progress.nodes_done, progress.nodes_total) == (1, 5)
    assert (progress.node, progress.node_class) == ("sampler", "KSampler")
    assert (progress.step, progress.steps) == (5, 20)


def test_cached_nodes_are_not_work() -> None:
    tally = fold(
        said.ExecutionCached(nodes=["model", "sampler"]),
        state(decode=(1, 1, "finished")),
    )
    progress = report(tally)
    assert progress.value == pytest.approx(1 / 3)
    assert (progress.nodes_done, progress.nodes_total) == (1, 3)


def test_a_fully_cached_prompt_has_nothing_left_to_do() -> None:
    progress = report(fold(said.ExecutionCached(nodes=NODES)))
    assert (progress.value, progress.nodes_total) == (HIGHEST, 0)


def test_everything_finished_is_not_yet_the_end() -> None:
    tally = fold(state(**dict.fromkeys(NODES, (1, 1, "finished"))))
    assert report(tally).value == HIGHEST


def test_after_a_reconnect_inputs_that_never_ran_count_as_cached() -> None:
    # execution_cached was missed; the sampler runs without its model having run.
    tally = fold(state(sampler=(10, 20, "running")))
    progress = report(tally)
    assert progress.nodes_total == 4
    assert progress.value == pytest.approx(10 / 23)


def test_an_old_server_without_progress_state_is_followed_too() -> None:
    tally = fold(
        said.ExecutionCached(nodes=[]),
        said.Executing(node="model"),
        said.Executing(node="sampler"),
        said.ProgressValue(node="sampler", value=10, max=20),
    )
    progress = report(tally)
    assert progress.value == pytest.approx((1 + 10) / TOTAL)
    assert (progress.nodes_done, progress.node) == (1, "sampler")


def test_with_progress_state_a_next_node_does_not_end_the_one_before() -> None:
    tally = fold(state(model=(0, 1, "running")), said.Executing(node="sampler"))
    assert report(tally).nodes_done == 0


def test_the_outputs_that_comfyui_names_replace_the_guess() -> None:
    tally = learn_outputs(fold(state(model=(1, 1, "finished"))), frozenset({"save"}))
    assert report(tally).nodes_total == 4
    assert report(tally).value == pytest.approx(1 / 23)


def test_no_word_about_outputs_leaves_the_guess() -> None:
    tally = learn_outputs(fold(), frozenset())
    assert report(tally).nodes_total == 5


def test_a_node_from_an_expansion_is_shown_as_the_one_it_stands_for() -> None:
    tally = fold(
        said.ProgressState(
            nodes={"decode.0.1": said.NodeState(value=0, max=1, display_node_id="decode")}
        )
    )
    assert report(tally).node_class == "VAEDecode"


NUMBERS = st.floats() | st.integers(-3, 30).map(float)
NAMES_OF_NODES = st.sampled_from([*NODES, "ghost", "save.1"])
MESSAGES = st.one_of(
    st.builds(said.ExecutionCached, nodes=st.lists(NAMES_OF_NODES)),
    st.builds(said.Executing, node=st.none() | NAMES_OF_NODES, display_node=NAMES_OF_NODES),
    st.builds(said.ProgressValue, node=st.none() | NAMES_OF_NODES, value=NUMBERS, max=NUMBERS),
    st.builds(said.Executed, node=NAMES_OF_NODES),
    st.builds(
        said.ProgressState,
        nodes=st.dictionaries(
            NAMES_OF_NODES,
            st.builds(
                said.NodeState,
                value=NUMBERS,
                max=NUMBERS,
                state=st.sampled_from(["running", "finished", "error", "pending"]),
            ),
        ),
    ),
    st.builds(said.Unknown, name=st.just("x")),
)


@given(st.lists(MESSAGES | st.frozensets(NAMES_OF_NODES)))
def test_whatever_is_said_progress_never_falls_and_never_ends(
    messages: list[said.Message | frozenset[str]],
) -> None:
    tally, before = new_tally(read_plan(TEXT_TO_IMAGE)), 0.0
    for message in messages:
        if isinstance(message, frozenset):
            tally = learn_outputs(tally, message)
        else:
            tally = evolve(tally, message)
        progress = report(tally)
        assert before <= progress.value <= HIGHEST
        assert 0 <= progress.nodes_done <= progress.nodes_total <= len(NODES)
        assert progress.step is None or 0 <= progress.step <= (progress.steps or 0)
        before = progress.value


@given(st.lists(MESSAGES | st.frozensets(NAMES_OF_NODES)))
def test_what_is_counted_on_is_what_counting_anew_finds(
    messages: list[said.Message | frozenset[str]],
) -> None:
    tally = new_tally(read_plan(TEXT_TO_IMAGE))
    for message in messages:
        if isinstance(message, frozenset):
            tally = learn_outputs(tally, message)
        else:
            tally = evolve(tally, message)
        anew = learn_outputs(tally, tally.outputs)
        assert anew.runs == tally.runs
        found, expected = ((one.total_s, one.ended_s, one.value) for one in (tally, anew))
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_run_climbs_step_by_step(name: str) -> None:
    """Each prompt of the recording, from its graph and its own messages alone."""
    recording = Recording(name)
    graphs: dict[str, object] = {}
    for record in recording.records:
        if record["dir"] == "http-response" and isinstance(record.get("body"), dict):
            request = recording.request_of(record)
            if request["path"] == "/prompt" and record["status"] == 200 and request["body"]:
                graphs.setdefault(record["body"]["prompt_id"], request["body"]["prompt"])
    for prompt_id, graph in graphs.items():
        tally = new_tally(read_plan(json.dumps(graph).encode()))
        values = []
        for record in recording.records:
            if record["dir"] == "ws-recv" and not record.get("binary"):
                message = said.decode(json.dumps(record["msg"]))
                if message.prompt_id == prompt_id:
                    tally = evolve(tally, message)
                    values.append(report(tally).value)
        assert values == sorted(values)
        if name == "slow-with-progress":
            # 1 + 8 + 1 + 8 + 3 of work, seen in all its steps.
            assert len(set(values)) >= 18
