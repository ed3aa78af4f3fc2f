"""What a graph needs of a server, from the graph alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.events.needs import ModelFile, Needs, needs_of

GRAPH: dict[str, object] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "xl\\base.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["1", 1]}},
}


def test_classes_and_model_files_are_needed() -> None:
    file = ModelFile("CheckpointLoaderSimple", "ckpt_name", "xl/base.safetensors")
    assert needs_of(GRAPH) == Needs(("CLIPTextEncode", "CheckpointLoaderSimple"), (file,))


def test_the_way_of_writing_a_folder_makes_no_difference() -> None:
    inputs = {"ckpt_name": "xl/base.safetensors"}
    same = {**GRAPH, "1": {"class_type": "CheckpointLoaderSimple", "inputs": inputs}}
    assert needs_of(same).signature == needs_of(GRAPH).signature


def test_prompts_seeds_and_images_make_no_difference() -> None:
    other = {**GRAPH, "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "x.png", "n": 7}}}
    assert needs_of(other).signature == needs_of(GRAPH).signature


def test_a_prompt_that_ends_like_a_file_is_no_file_when_it_has_lines() -> None:
    other = {**GRAPH, "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "two\nlines.pt"}}}
    assert needs_of(other) == needs_of(GRAPH)


def test_of_a_part_of_a_graph_its_model_files_alone_are_needed() -> None:
    graph = {**GRAPH, "3": {"class_type": "Empty", "inputs": {}}, "4": {"class_type": "Save",
             "inputs": {"images": ["3", 0]}}}  # fmt: skip
    file = ModelFile("CheckpointLoaderSimple", "ckpt_name", "xl/base.safetensors")
    classes = ("CLIPTextEncode", "CheckpointLoaderSimple", "Empty", "Save")
    assert needs_of(graph, targets=["4"]) == Needs(classes)
    assert needs_of(graph, targets=["4", "2", 7]) == needs_of(graph) == Needs(classes, (file,))


def test_a_circle_of_links_ends() -> None:
    graph = {"1": {"class_type": "A", "inputs": {"x": ["2", 0], "y": [], "z": [["1"], 0]}},
             "2": {"class_type": "A", "inputs": {"x": ["1", 0], "m": "a.pt"}},
             "3": {"class_type": "A", "inputs": []}}  # fmt: skip
    assert needs_of(graph, targets=["1", "3", "nobody"]) == needs_of(graph)


def test_labels_make_a_difference_and_their_order_does_not() -> None:
    assert needs_of(GRAPH, ["a", "b"]) == needs_of(GRAPH, ("b", "a", "a"))
    assert needs_of(GRAPH, ["a"]).signature != needs_of(GRAPH).signature


def test_without_needs_there_is_no_signature() -> None:
    assert Needs().signature == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), JSON))
def test_no_graph_is_too_strange(graph: dict[str, object]) -> None:
    assert isinstance(needs_of(graph).signature, str)
