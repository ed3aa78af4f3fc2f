"""What a submit must look like, and how it is told otherwise."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.checks import (
    METADATA_LIMIT_BYTES,
    WORKFLOW_LIMIT_BYTES,
    check_job_id,
    check_metadata,
    check_name,
    check_text,
    check_workflow,
)
from streams.errors import InvalidName, InvalidWorkflow, Refused, TooLarge

WORKFLOWS = Path(__file__).parent.parent / "data" / "workflows"
NODE = {"class_type": "EmptyImage", "inputs": {}}

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


def test_metadata_that_is_not_json_is_refused() -> None:
    with pytest.raises(InvalidName, match="cannot be written as JSON"):
        check_metadata({"x": object()})
