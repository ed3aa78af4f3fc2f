"""What a submit must look like, and how it is told otherwise."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.errors import InvalidName, InvalidWorkflow, Refused, TooLarge
from everfold.streams.events.checks import (
    check_choice,
    check_job_id,
    check_metadata,
    check_name,
    check_text,
)
from everfold.streams.events.limits import METADATA_LIMIT_BYTES, WORKFLOW_LIMIT_BYTES
from everfold.streams.events.workflow_check import check_workflow

WORKFLOWS = Path(__file__).parents[2] / "data" / "workflows"
NODE = {"class_type": "EmptyImage", "inputs": {}}

DEEP: list[object] = []
for _ in range(100_000):
    DEEP = [DEEP]

REFUSED: dict[str, tuple[object, str]] = {
    "not JSON": ("{", "is not JSON"),
    "a list": ([1], "an object of nodes, not a list"),
    "nothing": (None, "an object of nodes, not nothing"),
    "no nodes": ({}, "has no nodes"),
    "the editor's format": ({"nodes": [], "links": []}, r"Export \(API\)"),
    "a POST body": ({"prompt": {"1": NODE}, "client_id": "c"}, "the value of its `prompt`"),
    "a node that is text": ({"1": "EmptyImage"}, "node '1' is a str"),
    "no class": ({"1": {"inputs": {}}}, "node '1' has no `class_type`"),
    "no inputs": ({"9": {"class_type": "ImageInvert"}}, "node '9' .*no `inputs`"),
    "a number as node id": ({1: NODE}, "node ids are strings"),
    "no number": ({"1": {**NODE, "inputs": {"x": [float("nan")]}}}, "not finite"),
    "no end": ({"1": {**NODE, "inputs": {"x": {"y": float("inf")}}}}, "not finite"),
    "half a character": ({"1": {**NODE, "inputs": {"x": "\ud800"}}}, "cannot be written"),
    "half a character in text": (
        '{"1": {"class_type": "A", "inputs": {"x": "\ud800"}}}',
        "1.inputs.x holds half a character",
    ),
    "no bottom": ({"1": {**NODE, "inputs": {"x": DEEP}}}, "cannot be written"),
    "no bottom in text": ('{"1":' + "[" * 100_000, "is not JSON"),
    "a node that is nothing": ({"1": None}, "node '1' is nothing"),
    "a list as class": ({"1": {"class_type": ["A"], "inputs": {}}}, "no `class_type`"),
    "a list as inputs": ({"1": {"class_type": "A", "inputs": []}}, "no `inputs`"),
    "what JSON cannot say": ({"1": {**NODE, "inputs": {"x": {1, 2j}}}}, "cannot be written"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_workflow_that_comfyui_cannot_run_is_refused_in_words(name: str) -> None:
    workflow, words = REFUSED[name]
    with pytest.raises(InvalidWorkflow, match=words):
        check_workflow(workflow)


@pytest.mark.parametrize(
    "path", [p for p in WORKFLOWS.glob("*.json") if p.stem != "trap_orphan_no_inputs"], ids=str
)
def test_every_recorded_workflow_is_accepted_as_text_and_as_object(path: Path) -> None:
    text = path.read_text()
    assert check_workflow(text) == check_workflow(json.loads(text)) == check_workflow(text.encode())


def test_the_graph_that_kills_comfyui_s_worker_is_refused_before_it_gets_there() -> None:
    with pytest.raises(InvalidWorkflow, match="node '9' "):
        check_workflow((WORKFLOWS / "trap_orphan_no_inputs.json").read_text())


def test_the_order_of_keys_makes_no_other_workflow() -> None:
    one = {"1": NODE, "2": {"class_type": "A", "inputs": {"x": 1, "y": 2}}}
    other = {"2": {"inputs": {"y": 2, "x": 1}, "class_type": "A"}, "1": NODE}
    assert check_workflow(one).sha256 == check_workflow(other).sha256


def test_limits_are_named_with_the_size_that_was_given() -> None:
    large = {"1": {**NODE, "inputs": {"x": "y" * WORKFLOW_LIMIT_BYTES}}}
    with pytest.raises(TooLarge, match=r"the workflow has 4,194,\d+ bytes; the limit is 4,194,304"):
        check_workflow(large)
    with pytest.raises(TooLarge, match="the metadata"):
        check_metadata({"x": "y" * METADATA_LIMIT_BYTES})
    with pytest.raises(TooLarge, match="201 characters"):
        check_text("kind", "x" * 201)


@given(st.text())
def test_a_name_is_accepted_or_refused_and_never_changed(name: str) -> None:
    with contextlib.suppress(Refused):
        assert check_name("queue", name) == name
    with contextlib.suppress(Refused):
        assert check_job_id(name) == name


@pytest.mark.parametrize("name", ["", " ", "a b", "{x}", "a\n", "é", "x" * 65, "-a", 7, None])
def test_names_that_keys_cannot_carry_are_refused(name: object) -> None:
    with pytest.raises(InvalidName):
        check_name("queue", name)


@given(st.dictionaries(st.text(), st.none() | st.integers(-(2**53), 2**53) | st.text()))
def test_metadata_comes_back_as_it_was_given(metadata: dict[str, object]) -> None:
    assert check_metadata(metadata) == metadata


@pytest.mark.parametrize(
    "value",
    [object(), float("nan"), float("-inf"), "\ud800", DEEP, {1j: 1}, (1, [float("inf")])],
    ids=["object", "nan", "infinity", "half a character", "deep", "key", "inside"],
)
def test_metadata_that_is_not_json_is_refused_in_one_sentence(value: object) -> None:
    with pytest.raises(InvalidName, match="cannot be written as JSON") as refusal:
        check_metadata({"x": value})
    assert len(str(refusal.value)) < 300
    with pytest.raises(InvalidName, match="names must be strings"):
        check_metadata({1: "x"})


def test_null_is_a_value_like_others() -> None:
    metadata = {"x": None, "null": [None, 1.5, ("null",)]}
    assert check_metadata(metadata) == {"x": None, "null": [None, 1.5, ["null"]]}


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NODES = st.fixed_dictionaries({}, optional={"class_type": ANY, "inputs": ANY, "_meta": ANY})


@given(ANY | st.dictionaries(st.text(max_size=3), NODES | ANY, max_size=3))
def test_a_workflow_is_accepted_or_refused_with_a_typed_error(workflow: object) -> None:
    try:
        graph = check_workflow(workflow)
    except Refused:
        return
    assert check_workflow(graph.json) == graph


@given(st.dictionaries(st.text(), ANY, max_size=3))
def test_metadata_is_accepted_or_refused_with_a_typed_error(metadata: dict[str, object]) -> None:
    with contextlib.suppress(Refused):
        assert check_metadata(metadata).keys() == metadata.keys()


@pytest.mark.parametrize("text", ["a\nb", "\x00", "\ud800", "a\u2028b", 7, None, b"x"])
def test_free_text_holds_no_control_characters(text: object) -> None:
    with pytest.raises(InvalidName):
        check_text("user", text)


def test_free_text_may_be_in_any_language_up_to_its_limit() -> None:
    assert check_text("user", "Åsa 日本 🙂") == "Åsa 日本 🙂"
    assert check_text("user", "") == ""
    assert check_text("user", "é" * 200) == "é" * 200


def test_a_choice_names_the_choices() -> None:
    assert check_choice("priority", "low", ("high", "low")) == "low"
    with pytest.raises(InvalidName, match=r"priority 'urgent' .* choose one of high, low"):
        check_choice("priority", "urgent", ("high", "low"))


def test_a_refusal_shows_no_more_than_a_line_of_what_was_given() -> None:
    with pytest.raises(InvalidName) as refusal:
        check_name("queue", "x" * 1_000_000)
    assert len(str(refusal.value)) < 300
