"""Every frame becomes a message, whatever it holds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.comfyui import messages as said
from tests.comfyui.hostile.test_loose_json import JSON_VALUES
from tests.comfyui.recordings.recording import NAMES, Recording, binary_frame

UNUSED = {"status", "feature_flags"}
KIND_NAMES = [*(str(kind.__struct_config__.tag) for kind in said.KINDS), *sorted(UNUSED)]


@given(st.text(st.characters(codec=None)) | st.binary())
def test_garbage_never_raises(frame: str | bytes) -> None:
    assert isinstance(said.decode(frame), said.Message)


@given(st.sampled_from(KIND_NAMES), JSON_VALUES)
def test_a_known_type_with_any_data_never_raises(name: str, data: object) -> None:
    frame = json.dumps({"type": name, "data": data})
    assert isinstance(said.decode(frame), said.Message)


@given(
    st.sampled_from(KIND_NAMES),
    st.dictionaries(
        st.sampled_from(["prompt_id", "node", "nodes", "value", "max", "output", "timestamp"]),
        JSON_VALUES,
    ),
)
def test_a_known_type_with_wrong_fields_never_raises(name: str, data: object) -> None:
    frame = json.dumps({"type": name, "data": data})
    assert isinstance(said.decode(frame), said.Message)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=40))
def test_any_binary_frame_never_raises(kind: int, body: bytes) -> None:
    assert isinstance(said.decode(kind.to_bytes(4, "big") + body), said.Message)


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_frame_is_understood(name: str) -> None:
    for record in Recording(name).records:
        if record["dir"] != "ws-recv":
            continue
        frame = binary_frame(record) if record.get("binary") else json.dumps(record["msg"])
        message = said.decode(frame)
        is_unused = isinstance(message, said.Unknown) and message.name in UNUSED
        assert is_unused or not isinstance(message, said.Unknown | said.Garbage), record


def test_a_message_keeps_what_is_needed() -> None:
    frame = json.dumps(
        {
            "type": "progress_state",
            "data": {
                "prompt_id": "p",
                "nodes": {"5.0.1": {"value": 3, "max": 8, "state": "running", "new": [1]}},
                "unheard_of": True,
            },
        }
    )
    message = said.decode(frame)
    assert isinstance(message, said.ProgressState)
    assert message.prompt_id == "p"
    assert message.nodes["5.0.1"] == said.NodeState(value=3.0, max=8.0, state="running")


def test_a_nan_in_an_output_becomes_null() -> None:
    message = said.decode('{"type":"executed","data":{"node":"1","output":{"x":[NaN]}}}')
    assert message == said.Executed(node="1", output={"x": [None]})


def test_a_field_named_type_in_the_data_does_not_confuse() -> None:
    message = said.decode('{"type":"executed","data":{"node":"1","type":"status"}}')
    assert message == said.Executed(node="1")


def test_an_unknown_type_is_a_value() -> None:
    assert said.decode('{"type":"crystools.monitor","data":{}}') == said.Unknown(
        name="crystools.monitor"
    )


@pytest.mark.parametrize("frame", ["", "[]", "null", '{"data":{}}', '{"type":7}', b"", b"\0\0"])
def test_no_message_is_garbage(frame: str | bytes) -> None:
    assert isinstance(said.decode(frame), said.Garbage)


def test_a_preview_has_its_image() -> None:
    assert said.decode(b"\0\0\0\1\0\0\0\1jpeg") == said.Preview(image=b"jpeg")


def test_a_preview_with_metadata_names_its_prompt() -> None:
    metadata = b'{"node_id":"4","prompt_id":"p"}'
    frame = b"\0\0\0\4" + len(metadata).to_bytes(4, "big") + metadata + b"jpeg"
    assert said.decode(frame) == said.Preview(prompt_id="p", node="4", image=b"jpeg")


def test_a_text_frame_names_its_node() -> None:
    assert said.decode(b"\0\0\0\3\0\0\0\x018hello") == said.NodeText(node="8", text="hello")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "execution_error",
            {"prompt_id": "p", "node_id": 7, "exception_type": None},
            said.ExecutionError(prompt_id="p"),
        ),
        (
            "execution_success",
            {"prompt_id": "p", "timestamp": "now"},
            said.ExecutionSuccess(prompt_id="p"),
        ),
        ("executing", {"prompt_id": "p", "node": 7}, said.Executing(prompt_id="p", node="7")),
        ("executing", {"prompt_id": "p", "node": [7]}, said.Executing(prompt_id="p", node="")),
        ("executing", {"prompt_id": "p", "node": None}, said.Executing(prompt_id="p")),
        ("executed", {"prompt_id": "p", "node": ["7"]}, said.Executed(prompt_id="p")),
        (
            "executed",
            {"prompt_id": "p", "node": 7, "output": {"a": [1]}},
            said.Executed(prompt_id="p", node="7", output={"a": [1]}),
        ),
        (
            "execution_cached",
            {"prompt_id": "p", "nodes": [1, "2", None]},
            said.ExecutionCached(prompt_id="p", nodes=["1", "2"]),
        ),
        (
            "execution_cached",
            {"prompt_id": "p", "nodes": None},
            said.ExecutionCached(prompt_id="p"),
        ),
        (
            "progress",
            {"node": "5", "value": 3, "max": None},
            said.ProgressValue(node="5", value=3.0),
        ),
        (
            "progress_state",
            {"prompt_id": "p", "nodes": {"1": {"value": "x", "max": 8}, "2": None}},
            said.ProgressState(
                prompt_id="p", nodes={"1": said.NodeState(max=8.0), "2": said.NodeState()}
            ),
        ),
        ("execution_interrupted", {"prompt_id": 5}, said.ExecutionInterrupted(prompt_id="5")),
    ],
)
def test_one_odd_field_does_not_cost_the_frame(
    name: str, data: object, message: said.Message
) -> None:
    assert said.decode(json.dumps({"type": name, "data": data})) == message


def test_a_blocked_execution_is_no_end() -> None:
    message = said.decode('{"type":"execution_error","data":{"exception_type":"ExecutionBlocked"}}')
    assert isinstance(message, said.ExecutionError)
    assert not message.is_terminal
