"""Which nodes cost the same, by their graph."""

from __future__ import annotations

import time
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.costs.node_kinds import MOST_NODES, read_kinds

GRAPH: dict[str, Any] = {
    "model": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.ckpt"}},
    "text": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["model", 1]}},
    "latent": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 1000, "height": 500, "batch_size": 2},
    },
    "sampler": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["model", 0],
            "positive": ["text", 0],
            "latent_image": ["latent", 0],
            "steps": 20,
            "seed": 1,
            "cfg": 7.5,
            "sampler_name": "euler",
        },
    },
    "larger": {
        "class_type": "LatentUpscaleBy",
        "inputs": {"samples": ["sampler", 0], "scale_by": 2},
    },
    "save": {
        "class_type": "SaveImage",
        "inputs": {"images": ["larger", 0], "filename_prefix": "job-1"},
    },
}


def changed(node: str, name: str, value: object) -> dict[str, Any]:
    graph = deepcopy(GRAPH)
    graph[node]["inputs"][name] = value
    return graph


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [
        ("sampler", "seed", 2),
        ("sampler", "cfg", 3.0),
        ("text", "text", "a dog on a hill"),
        ("save", "filename_prefix", "job-2"),
    ],
)
def test_what_changes_from_job_to_job_is_the_same_work(node: str, name: str, value: object) -> None:
    assert read_kinds(changed(node, name, value)) == read_kinds(GRAPH)


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [
        ("sampler", "steps", 30),
        ("sampler", "sampler_name", "heun"),
        ("latent", "width", 2000),
        ("model", "ckpt_name", "b.ckpt"),
    ],
)
def test_what_costs_is_other_work_of_the_same_class(node: str, name: str, value: object) -> None:
    before, after = read_kinds(GRAPH)["sampler"], read_kinds(changed(node, name, value))["sampler"]
    assert before.same_work != after.same_work
    assert before.same_class == after.same_class


def test_the_names_of_nodes_and_their_order_do_not_count() -> None:
    turned = dict(reversed(GRAPH.items()))
    assert read_kinds(turned) == read_kinds(GRAPH)


def test_the_size_is_that_of_what_feeds_a_node() -> None:
    sizes = {name: kind.megapixels for name, kind in read_kinds(GRAPH).items()}
    assert sizes == {
        "model": 0,
        "text": 0,
        "latent": 1.0,
        "sampler": 1.0,
        "larger": 4.0,
        "save": 4.0,
    }


def test_a_graph_of_too_many_nodes_has_no_kinds() -> None:
    node = {"class_type": "A", "inputs": {}}
    assert read_kinds({str(n): node for n in range(MOST_NODES + 1)}) == {}
    assert read_kinds({str(n): node for n in range(100_000)}) == {}


def test_a_long_chain_in_which_each_node_feeds_all_later_ones_is_read_at_once() -> None:
    graph = {
        str(n): {"class_type": f"C{n}", "inputs": {f"i{m}": [str(m), 0] for m in range(n)}}
        for n in reversed(range(300))
    }
    began = time.process_time()
    assert len(read_kinds(graph)) == 300
    assert time.process_time() - began < 2


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
inputs = st.dictionaries(
    st.sampled_from(["width", "height", "scale_by", "steps", "model", "x_name"]) | st.text(),
    values | st.tuples(st.sampled_from("abc"), st.integers()).map(list),
)
nodes = values | st.fixed_dictionaries({"class_type": st.text() | st.none(), "inputs": inputs})


@given(st.dictionaries(st.sampled_from("abc") | st.text(), nodes, max_size=6))
def test_any_graph_has_kinds(graph: dict[str, object]) -> None:
    kinds = read_kinds(graph)
    assert kinds.keys() == graph.keys()
    assert all(0 <= kind.megapixels <= 1e6 for kind in kinds.values())


def test_odd_bytes_in_names_are_names() -> None:
    odd = {"class_type": "\ud800\x00", "inputs": {"\udfff_name": "\ud800"}}
    assert read_kinds({"\ud800": odd})["\ud800"] != read_kinds({"a": {"class_type": "b"}})["a"]
