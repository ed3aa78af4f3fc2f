"""What a server says of its node classes is read whatever it says."""

from __future__ import annotations

import json
import zlib
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from everfold.runner.capabilities.object_info import (
    BODY_LIMIT_BYTES,
    NodeClass,
    ObjectInfo,
    decode,
    read_object_info,
)
from everfold.runner.loose_json import TooManyValues


def one_class(inputs: object, **fields: object) -> bytes:
    described = {"input": inputs, "output": [], "python_module": "nodes", **fields}
    return json.dumps({"Node": described}).encode()


def node(inputs: object, **fields: object) -> NodeClass:
    return read_object_info(one_class(inputs, **fields)).classes["Node"]


def test_types_ranges_and_outputs_are_kept_and_texts_for_people_are_not() -> None:
    options = {"min": 1, "max": 8, "tooltip": "how many", "default": "x" * 1000}
    found = node({"required": {"n": ["INT", options]}}, output=["IMAGE"], output_node=True)

    (number,) = found.required
    assert (number.kind, number.options) == ("INT", {"min": 1, "max": 8})
    assert found.returns == ("IMAGE",)
    assert found.is_output
    assert not found.is_custom


@pytest.mark.parametrize(
    "spec", [[["a", "b"], {}], [["a", "b"]], ["COMBO", {"options": ["a", "b"], "default": "a"}]]
)
def test_both_forms_of_a_list_are_read(spec: list[object]) -> None:
    info = read_object_info(one_class({"required": {"name": spec}}))

    (name,) = info.classes["Node"].required
    assert name.choices is not None
    assert info.lists[name.choices] == ("a", "b")


@pytest.mark.parametrize(
    "options",
    [{}, {"options": None}, {"remote": {"route": "/x"}, "options": []}, {"multiselect": True}],
)
def test_what_a_browser_fetches_is_no_list(options: dict[str, object]) -> None:
    (name,) = node({"required": {"name": ["COMBO", options]}}).required

    assert name.choices is None


def test_an_input_that_stands_for_others_and_one_that_takes_uploads_say_so() -> None:
    specs = {"mode": ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "a", "inputs": {}}]}]}
    found = node({"required": specs, "optional": {"image": [["x.png"], {"image_upload": True}]}})

    assert found.required[0].is_dynamic
    assert found.optional[0].is_open


def test_a_node_of_an_extension_may_check_itself() -> None:
    assert node({}, python_module="custom_nodes.x").is_custom
    assert not node({}, python_module="comfy_extras.nodes_mask").is_custom


def test_a_list_is_kept_once_however_many_inputs_have_it() -> None:
    files = [f"model{number}.safetensors" for number in range(100)]
    described = {"input": {"required": {"name": [files, {}]}}}
    info = read_object_info(json.dumps({f"Node{n}": described for n in range(50)}).encode())

    assert len(info.lists) == 1


def test_the_order_of_classes_makes_no_other_content() -> None:
    described = {"input": {"required": {"name": [["a"], {}]}}}
    both = [json.dumps(dict.fromkeys(names, described)).encode() for names in ("AB", "BA")]

    assert read_object_info(both[0]).hash == read_object_info(both[1]).hash


def test_what_is_stored_is_read_again_and_has_the_same_content() -> None:
    info = read_object_info(
        one_class({"required": {"n": ["FLOAT", {"min": 0.5}], "m": [[1, 1.5, True, "a"], {}]}})
    )

    assert decode(info.encoded) == replace(info, described=None)
    assert decode(info.encoded + b"x") is None


@pytest.mark.parametrize("number", [b"7", b"NaN"])
def test_the_whole_body_goes_with_it_as_strict_json(number: bytes) -> None:
    body = b'{"A": {"input": {}, "display_name": "An A", "tooltip": "t", "x": %b}}' % number

    described = read_object_info(body).described

    assert described is not None
    text = zlib.decompress(described.packed)
    assert sha256(text).hexdigest() == described.hash
    expected = 7 if number == b"7" else None
    assert msgspec.json.decode(text)["A"] == {
        "input": {}, "display_name": "An A", "tooltip": "t", "x": expected
    }  # fmt: skip


def test_a_stored_form_that_names_a_list_that_is_not_there_is_refused() -> None:
    broken = ObjectInfo({"Node": NodeClass(returns=(3,))})

    assert decode(broken.encoded) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b'{"A": 1}', b'{"A": {}', b"\xff"])
def test_what_lists_no_class_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_object_info(body)


def test_a_body_beyond_the_limit_is_not_read() -> None:
    with pytest.raises(TooManyValues, match="bytes"):
        read_object_info(b" " * (BODY_LIMIT_BYTES + 1))
    with pytest.raises(TooManyValues, match="values"):
        read_object_info(b"[" + b"1," * 2_100_000 + b"1]")


WORDS = ["required", "optional", "options", "min", "image_upload", "input", "output", "COMBO"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(WORDS), inner),
)
SPEC = st.lists(st.just("COMBO") | st.lists(JSON) | JSON, max_size=3) | JSON
GROUP = st.dictionaries(st.text(), SPEC) | JSON
CLASS = st.fixed_dictionaries(
    {"input": st.dictionaries(st.sampled_from(["required", "optional"]), GROUP) | JSON},
    optional={"output": JSON, "output_node": JSON, "python_module": JSON},
)


@given(st.dictionaries(st.text(), CLASS | JSON, max_size=4) | JSON)
def test_no_answer_is_too_strange(value: object) -> None:
    body = json.dumps(value).encode()
    try:
        info = read_object_info(body)
    except ValueError:
        return
    assert decode(info.encoded) == replace(info, described=None)
    msgspec.json.encode(info)
    assert len(info.names) == len(info.lists)
