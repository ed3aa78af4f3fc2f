"""What runs, and how much each node weighs."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.comfyui.graph import output_nodes, reachable, read_plan, without
from tests.comfyui.hostile.test_loose_json import JSON_VALUES


def plan_of(**nodes: tuple[str, dict[str, object]]) -> bytes:
    graph = {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}
    return json.dumps(graph).encode()


TEXT_TO_IMAGE = plan_of(
    model=("CheckpointLoaderSimple", {"ckpt_name": "sd.safetensors"}),
    sampler=("KSampler", {"model": ["model", 0], "steps": 20, "seed": 1}),
    decode=("VAEDecode", {"samples": ["sampler", 0], "vae": ["model", 2]}),
    save=("SaveImage", {"images": ["decode", 0]}),
    preview=("PreviewImage", {"images": ["decode", 0]}),
)


def test_nodes_that_nobody_links_to_are_taken_for_outputs() -> None:
    assert output_nodes(read_plan(TEXT_TO_IMAGE)) == {"save", "preview"}


def test_what_an_output_needs_is_reachable() -> None:
    plan = read_plan(TEXT_TO_IMAGE)
    assert reachable(plan, ["save"]) == {"model", "sampler", "decode", "save"}


def test_what_only_feeds_a_cached_node_does_not_run() -> None:
    plan = read_plan(TEXT_TO_IMAGE)
    assert reachable(plan, ["save"], {"decode"}) == {"save"}
    assert reachable(plan, ["save"], {"sampler"}) == {"save", "decode", "model"}


def test_a_cycle_ends() -> None:
    plan = read_plan(plan_of(a=("X", {"i": ["b", 0]}), b=("X", {"i": ["a", 0]})))
    assert reachable(plan, ["a"]) == {"a", "b"}


def test_outputs_downstream_of_a_broken_node_are_dropped() -> None:
    plan = read_plan(
        plan_of(
            a=("EmptyImage", {}),
            good=("SaveImage", {"images": ["a", 0]}),
            bad=("ImageScale", {"image": ["a", 0]}),
            lost=("SaveImage", {"images": ["bad", 0]}),
        )
    )
    assert without(plan, ["good", "lost"], {"bad"}) == {"good"}


def weights(workflow: bytes) -> dict[str, float]:
    return {name: node.weight for name, node in read_plan(workflow).items()}


def test_a_sampler_weighs_its_steps() -> None:
    assert weights(TEXT_TO_IMAGE)["sampler"] == 20
    assert weights(TEXT_TO_IMAGE)["decode"] == 1


def test_a_custom_sampler_weighs_the_steps_of_its_scheduler_which_itself_is_light() -> None:
    workflow = plan_of(
        sigmas=("BasicScheduler", {"steps": 28}),
        select=("KSamplerSelect", {"sampler_name": "euler"}),
        sampler=("SamplerCustomAdvanced", {"sampler": ["select", 0], "sigmas": ["sigmas", 0]}),
    )
    assert weights(workflow) == {"sigmas": 1, "select": 1, "sampler": 28}


def test_a_sampler_whose_steps_are_unknown_weighs_the_usual_twenty() -> None:
    workflow = plan_of(sampler=("KSampler", {"steps": ["number", 0]}))
    assert weights(workflow) == {"sampler": 20}


def test_any_node_with_steps_weighs_them() -> None:
    assert weights(plan_of(upscale=("Upscaler", {"steps": 7}))) == {"upscale": 7}
    assert weights(plan_of(odd=("Upscaler", {"steps": -3}))) == {"odd": 1}
    assert weights(plan_of(flag=("Upscaler", {"steps": True}))) == {"flag": 1}


@given(st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_workflow_can_be_read(workflow: bytes) -> None:
    plan = read_plan(workflow)
    assert output_nodes(plan) <= plan.keys()


@given(st.dictionaries(st.sampled_from("abc"), JSON_VALUES))
def test_any_nodes_can_be_read(graph: dict[str, object]) -> None:
    plan = read_plan(json.dumps(graph).encode())
    assert plan.keys() == graph.keys()
    assert all(node.weight >= 1 for node in plan.values())
