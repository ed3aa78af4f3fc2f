"""A graph is refused with the words of a real server, and only where that server refuses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.capabilities.fits import Server
from everfold.runner.capabilities.node_check import Graph
from everfold.runner.capabilities.object_info import ObjectInfo, read_object_info
from everfold.runner.capabilities.objections import Objection, Passed, judge
from everfold.runner.capabilities.validation import Verdict, validate
from everfold.streams.events.needs import Needs

DATA = Path(__file__).parents[2] / "data" / "validation"
LISTED = read_object_info((DATA / "object_info.json").read_bytes())
ANSWERS = [json.loads(line) for line in (DATA / "answers.jsonl").read_text().splitlines()]


def no_file(class_type: str, name: str, value: object) -> str:
    """The real server had no uploaded file."""
    return f"Invalid image file: {value}"


def comparable(error: Any, node_errors: Any) -> tuple[object, object]:
    """Return errors without what depends on the order of a set, or is a text for people."""
    whole = error and (error["type"], error["message"], sorted(error["details"].split("\n")))
    nodes = {
        node: (entry["class_type"], sorted(map(one_error, entry["errors"])))
        for node, entry in node_errors.items()
    }
    return whole, nodes


def one_error(error: dict[str, Any]) -> str:
    extra = {name: value for name, value in error["extra_info"].items() if name != "traceback"}
    if extra.get("input_config"):
        kind, options = extra["input_config"]
        extra["input_config"] = kind, {n: v for n, v in options.items() if n != "tooltip"}
    return json.dumps([error["type"], error["message"], error["details"], extra], sort_keys=True)


@pytest.mark.parametrize("number", range(len(ANSWERS)))
def test_a_graph_gets_the_answer_of_a_real_server(number: int) -> None:
    there = ANSWERS[number]
    verdict = validate(there["graph"], LISTED, own_check=no_file)

    assert (verdict.error is None) == (there["status"] == 200)
    answer = there["answer"]
    expected = comparable(answer["error"], answer["node_errors"])
    assert comparable(verdict.error, verdict.node_errors) == expected


def test_the_answers_have_every_kind_of_error() -> None:
    told = {
        e["type"] for a in ANSWERS for n in a["answer"]["node_errors"].values() for e in n["errors"]
    }
    told |= {a["answer"]["error"]["type"] for a in ANSWERS if a["answer"]["error"]}

    assert told >= {
        *("required_input_missing", "bad_linked_input", "return_type_mismatch"),
        *("invalid_input_type", "value_smaller_than_min", "value_bigger_than_max"),
        *("value_not_in_list", "custom_validation_failed", "exception_during_validation"),
        *("exception_during_inner_validation", "invalid_prompt", "prompt_no_outputs"),
        "prompt_outputs_failed_validation",
    }


def image(**inputs: object) -> Graph:
    size = {"width": 8, "height": 8, "batch_size": 1, "color": 0, **inputs}
    shown = {"images": ["1", 0]}
    return {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "PreviewImage", "inputs": shown},
    }


def codes(verdict: Verdict) -> list[object]:
    return [
        error["type"]
        for entry in verdict.node_errors.values()
        for error in entry["errors"]  # type: ignore[attr-defined]
    ]


def listed(spec: list[object], module: str = "nodes") -> ObjectInfo:
    described = {
        "input": {"required": {"x": spec}},
        "python_module": module,
        "output": ["IMAGE"],
        "output_node": True,
    }
    return read_object_info(json.dumps({"Node": described}).encode())


def with_x(value: object) -> Graph:
    return {"1": {"class_type": "Node", "inputs": {"x": value}}}


@pytest.mark.parametrize(
    "spec",
    [
        ["COMBO", {"remote": {"route": "/x"}, "options": []}],
        ["COMBO", {"options": ["a"], "multiselect": True}],
        [["a.png"], {"image_upload": True}],
        ["COMFY_DYNAMICCOMBO_V3", {"options": []}],
    ],
)
def test_what_the_server_may_accept_passes(spec: list[object]) -> None:
    assert validate(with_x("b"), listed(spec)).error is None


def test_a_node_of_an_extension_may_take_more_than_it_lists() -> None:
    module = "custom_nodes.some"

    assert validate(with_x(9), listed(["INT", {"max": 8}], module)).error is None
    assert validate(with_x("b"), listed([["a"], {}], module)).error is None
    assert codes(validate(with_x("nine"), listed(["INT", {}], module))) == ["invalid_input_type"]


def test_the_new_form_of_a_list_is_checked_too() -> None:
    verdict = validate(with_x("b"), listed(["COMBO", {"options": ["a"]}]))

    assert codes(verdict) == ["value_not_in_list"]


ASSET = "everfold:0e8b4b0c-9a44-5e0e-8c8a-3b0f3c9d4e5f"
V2_ASSET = {"__type": "core/ASSET", "info": {"id": ASSET.removeprefix("everfold:")}}


@pytest.mark.parametrize("value", [ASSET, "blake3:" + "ab" * 32, V2_ASSET, [ASSET]])
@pytest.mark.parametrize("spec", [[["a.png"], {}], ["INT", {"max": 8}], ["COMBO", {}]])
def test_a_value_that_stands_for_a_file_is_checked_by_the_server_that_has_it(
    value: object, spec: list[object]
) -> None:
    def verdict(given: object) -> Objection | Passed:
        farm = [Server("gpu", listed(spec))]
        return judge(json.dumps(with_x(given)).encode(), Needs(), farm)

    assert verdict(value) == Passed()
    if spec != ["COMBO", {}]:
        assert isinstance(verdict("other.png"), Objection)


def test_other_inputs_of_a_graph_with_a_file_are_checked_as_ever() -> None:
    described = {
        "input": {"required": {"x": [["a.png"], {}], "y": ["INT", {"max": 8}]}},
        "python_module": "nodes",
        "output_node": True,
    }
    info = read_object_info(json.dumps({"Node": described}).encode())
    graph = {"1": {"class_type": "Node", "inputs": {"x": ASSET, "y": 9}}}

    found = judge(json.dumps(graph).encode(), Needs(), [Server("gpu", info)])

    assert isinstance(found, Objection)
    assert "bigger than max" in found.why


def test_a_server_that_is_sent_a_reference_refuses_it() -> None:
    assert codes(validate(with_x(ASSET), listed([["a.png"], {}]))) == ["value_not_in_list"]


def test_values_are_converted_in_place() -> None:
    graph = image(width="8", height={"__value__": 9})

    assert validate(graph, LISTED).error is None
    assert graph["1"]["inputs"] == {
        "width": 8,
        "height": 9,
        "batch_size": 1,
        "color": 0,
    }


def test_a_cycle_is_told_at_each_of_its_nodes() -> None:
    graph: Graph = {
        "1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    verdict = validate(graph, LISTED)

    assert verdict.error is not None
    assert codes(verdict) == ["dependency_cycle", "dependency_cycle"]


def test_ten_thousand_nodes_in_a_row_are_checked() -> None:
    graph = image()
    for number in range(3, 10_000):
        source = [str(number - 1) if number > 3 else "1", 0]
        graph[str(number)] = {"class_type": "ImageInvert", "inputs": {"image": source}}
    graph["2"]["inputs"] = {"images": ["9999", 0]}

    assert validate(graph, LISTED).error is None


NAMES = st.sampled_from([*sorted(LISTED.classes), "NoSuchNode"])
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("__value__"), inner),
)
LINK = st.tuples(st.sampled_from("12345"), st.integers(-2, 2)).map(list)
INPUT_NAMES = st.sampled_from(
    sorted({one.name for c in LISTED.classes.values() for one in (*c.required, *c.optional)})
)
NODE = st.fixed_dictionaries(
    {}, optional={"class_type": NAMES, "inputs": st.dictionaries(INPUT_NAMES, LINK | VALUE) | VALUE}
)


@given(st.dictionaries(st.sampled_from("12345"), NODE))
def test_no_graph_is_too_strange(graph: Graph) -> None:
    verdict = validate(graph, LISTED)

    assert (verdict.error is None) == bool(verdict.outputs)
    assert all(entry["errors"] for entry in verdict.node_errors.values())
