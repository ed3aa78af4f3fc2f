"""Node classes of unlike servers as those of one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from everfold.web.comfyui.server.object_info import with_names
from everfold.web.comfyui.server.union import union_of, upload_inputs


def body(**classes: Any) -> bytes:
    return msgspec.json.encode(classes)


def loader(*choices: str, is_new: bool = False, **options: object) -> dict[str, Any]:
    plain = [list(choices), options]
    spec = ["COMBO", {"options": list(choices), **options}] if is_new else plain
    return {"input": {"required": {"file": spec, "n": ["INT", {"min": 0}]}}, "output": ["MODEL"]}


def choices_of(text: bytes) -> Any:
    spec = msgspec.json.decode(text)["input"]["required"]["file"]
    return spec[0] if isinstance(spec[0], list) else spec[1]["options"]


@pytest.mark.parametrize("is_new", [False, True])
def test_choices_of_all_servers_are_there_each_once_in_order(is_new: bool) -> None:
    first, second = loader("b", "a", is_new=is_new), loader("c", "a", is_new=is_new)

    union = union_of([body(L=first), body(L=second, Other=second), body(L=first)])

    assert choices_of(union.encoded["L"]) == ["b", "a", "c"]
    assert set(union.encoded) == {"L", "Other"}


def test_a_class_that_is_the_same_everywhere_stays_as_it_is() -> None:
    one = {**loader("a"), "display_name": "L", "input_order": {"required": ["file"]}, "x": [1.50]}

    assert msgspec.json.decode(union_of([body(L=one)] * 2).encoded["L"]) == one


def test_classes_of_output_nodes_are_known() -> None:
    union = union_of([body(Save={"output_node": True, "input": {}}, L=loader("a"))])

    assert union.output_classes == {"Save"}


@pytest.mark.parametrize("is_new", [False, True])
def test_inputs_that_take_uploads_have_the_callers_own_names(is_new: bool) -> None:
    image = loader("of the server.png", is_new=is_new, image_upload=True)
    union = union_of([body(LoadImage=image, L=loader("a"))])

    assert set(union.uploads) == {"LoadImage"}
    assert upload_inputs(image) == {"file": "image"}
    shown = with_names(union.uploads["LoadImage"], ["cat.png", "a/dog.webp", "notes.txt"])
    assert choices_of(msgspec.json.encode(shown)) == ["cat.png", "a/dog.webp"]
    assert shown["output"] == ["MODEL"]


@pytest.mark.parametrize("odd", [b"", b"[]", b"{", b'{"A": 7}', b"\xff", b"null", b"[" * 5000])
def test_what_is_no_description_is_left_out(odd: bytes) -> None:
    union = union_of([odd, body(L=loader("a"))])

    assert set(union.encoded) == {"L"}


@pytest.mark.parametrize("inputs", [None, 7, [], {"required": 7}, {"required": {"file": []}}])
def test_inputs_that_make_no_sense_stay_as_they_are(inputs: object) -> None:
    union = union_of([body(L={"input": inputs}), body(L=loader("a"))])

    assert "L" in union.encoded
