"""Which files outputs name, what is stored of them, and what they are called."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.backend import OutputFile, SentPictures
from everfold.runner.decisions.output_files import (
    FILES_LIMIT,
    Missing,
    collected,
    names_of,
    pictures_of,
    plan_of,
    with_pictures,
)
from everfold.streams.assets.asset import Asset
from everfold.streams.events.event import Outputs, Succeeded
from everfold.streams.events.limits import EVENT_LIMIT_BYTES, OUTPUT_LIMIT_BYTES
from everfold.streams.events.shortening import shortened


def reference(
    filename: object, kind: object = "output", subfolder: object = ""
) -> dict[str, object]:
    return {"filename": filename, "subfolder": subfolder, "type": kind}


def asset(name: str = "j_a.png") -> Asset:
    return Asset(
        id="12345678-1234-1234-1234-123456789abc", hash="blake3:" + "0a" * 32, size_bytes=77,
        media_type="image/png", name=name, owner="ada", created_ms=5, width=4, height=3,
    )  # fmt: skip


def files(outputs: Outputs, *, previews: bool = False) -> list[str]:
    plan = plan_of(outputs, previews=previews, event_limit_bytes=EVENT_LIMIT_BYTES)
    return [f"{file.kind}:{file.subfolder}:{file.filename}" for file in plan.files]


def test_every_list_of_files_is_found_and_every_other_value_stays() -> None:
    outputs: Outputs = {
        "1": {"images": [reference("a.png")], "animated": [True], "text": ["filename"]},
        "2": {"gifs": [{**reference("b.mp4", subfolder="video"), "workflow": "b.png", "fps": 8.0}]},
        "3": {"audio": [reference("c.flac")], "latents": [reference("d.latent")]},
        "4": {"3d": [reference("e.glb")], "files": [[reference("f.bin")]], "video": [{"x": 1}]},
        "5": {"a": {"filename": "not in a list"}, "b": [{"filename": 7}], "c": ["a.png", None, 3]},
        "6": {"nested": [{"deep": {"filename": "g.png"}}]},
    }
    names = ["a.png", "video:b.mp4", "c.flac", "d.latent", "e.glb", "f.bin", "g.png"]
    assert files(outputs) == [f"output:{n if ':' in n else ':' + n}" for n in names]
    assert collected(outputs, {}) == outputs


def test_a_file_that_is_named_twice_is_stored_once_and_said_of_both() -> None:
    outputs: Outputs = {"1": {"images": [reference("a.png")]}, "2": {"files": [reference("a.png")]}}
    plan = plan_of(outputs, previews=False, event_limit_bytes=EVENT_LIMIT_BYTES)
    assert plan.files == (OutputFile("output", "", "a.png"),)
    done = collected(outputs, {plan.files[0]: asset()})
    for output in done.values():
        [[one]] = cast("dict[str, list[object]]", output).values()
        assert one == {
            **reference("a.png"), "asset": asset().id, "hash": asset().hash, "size_bytes": 77,
            "media_type": "image/png", "name": "j_a.png", "width": 4, "height": 3,
        }  # fmt: skip


def test_previews_are_stored_where_the_policy_says_so_and_inputs_never() -> None:
    outputs: Outputs = {
        "1": {
            "images": [reference("a.png", "temp"), reference("b.png", "input"), reference("c.png")]
        },
        "2": {"images": [{"filename": "no type"}, reference("d", 7), reference("e", "websocket")]},
    }
    assert files(outputs) == ["output::c.png", "output::no type"]
    assert files(outputs, previews=True) == ["temp::a.png", "output::c.png", "output::no type"]
    plan = plan_of(outputs, previews=False, event_limit_bytes=EVENT_LIMIT_BYTES)
    assert plan.is_whole
    done = collected(outputs, plan.left_out)
    [preview, *_] = cast("list[object]", done["1"]["images"])
    assert preview == {
        **reference("a.png", "temp"),
        "stored": False,
        "why": "skipped",
    }


@pytest.mark.parametrize(
    ("filename", "subfolder"),
    [
        ("../x.png", ""),
        ("..\\x.png", ""),
        ("/etc/passwd", ""),
        ("C:\\x.png", ""),
        ("\\\\host\\x", ""),
        ("x.png", "../.."),
        ("x.png", "/etc"),
        ("x.png", "a/../../b"),
        ("x.png", "a\\..\\b"),
        ("x\n.png", ""),
        ("x\0.png", ""),
        ("x\ud800.png", ""),
        ("", ""),
        ("x" * 1001, ""),
        ("x.png", "y" * 4001),
    ],
)
def test_a_name_that_no_server_can_mean_is_not_asked_for(filename: str, subfolder: str) -> None:
    outputs: Outputs = {"1": {"images": [reference(filename, subfolder=subfolder)]}}
    assert files(outputs) == []


def test_a_thumbnail_is_told_beside_its_picture() -> None:
    outputs: Outputs = {"1": {"images": [reference("a.png"), reference("b.png")]}}
    a, b = (OutputFile("output", "", name) for name in ("a.png", "b.png"))
    small = msgspec.structs.replace(asset(), size_bytes=5, media_type="image/webp")
    [first, second] = cast(
        "list[dict[str, object]]",
        collected(outputs, {a: asset(), b: Missing("gone")}, {a: small, b: small})["1"]["images"],
    )

    assert first["thumbnail"] == {
        "asset": small.id,
        "hash": small.hash,
        "size_bytes": 5,
        "media_type": "image/webp",
        "width": 4,
        "height": 3,
    }
    assert "thumbnail" not in second


def test_no_server_says_which_stored_file_a_reference_is() -> None:
    claim = {
        **reference("a.png"),
        "asset": asset().id,
        "hash": "x",
        "stored": True,
        "thumbnail": {},
    }
    assert collected({"1": {"images": [claim]}}, {}) == {"1": {"images": [reference("a.png")]}}


def test_of_too_many_files_the_first_are_stored_and_the_event_names_them_all() -> None:
    many = [reference(f"{number:05}.png", subfolder="s" * 20) for number in range(10_000)]
    outputs: Outputs = {
        str(node): {"images": many[node * 2500 : (node + 1) * 2500]} for node in range(4)
    }
    plan = plan_of(outputs, previews=False, event_limit_bytes=EVENT_LIMIT_BYTES)
    assert not plan.is_whole
    assert 500 < len(plan.files) <= FILES_LIMIT
    name = "j" * 64 + "_" + "n" * 20
    done = collected(outputs, {file: asset(name) for file in plan.files} | dict(plan.left_out))
    event = shortened(Succeeded(attempt=1, outputs=done), EVENT_LIMIT_BYTES)
    assert isinstance(event, Succeeded)
    assert msgspec.json.encode(event).count(b'"asset"') == len(plan.files)
    assert len(msgspec.json.encode(event)) <= EVENT_LIMIT_BYTES


def test_a_file_with_large_values_beside_its_name_is_stored_all_the_same() -> None:
    large = {**reference("a.mp4"), "workflow": "x" * OUTPUT_LIMIT_BYTES}
    assert files({"1": {"gifs": [large]}}) == ["output::a.mp4"]


def test_a_shortened_output_keeps_stored_files_before_those_that_are_not() -> None:
    lost = [{**reference(f"{n}.png"), "stored": False, "why": "gone"} for n in range(5000)]
    kept = {**reference("z.png"), "asset": asset().id, "hash": asset().hash}
    outputs: Outputs = {"1": {"images": [*lost, kept], "text": ["x" * OUTPUT_LIMIT_BYTES]}}
    event = shortened(Succeeded(attempt=1, outputs=outputs), EVENT_LIMIT_BYTES)
    assert asset().id.encode() in msgspec.json.encode(event)


NAMES = st.sampled_from(
    ["a.png", "A.png", "a_2.png", "a", "b.tar.gz", "..", "x" * 300, "é/ü\n", ""]
)
FILES = st.builds(OutputFile, st.just("output"), st.sampled_from(["", "s", "S"]), NAMES)


@given(
    st.lists(FILES, unique=True, max_size=20), st.sampled_from(["job", "a/b", "j" * 200, "\u202e"])
)
def test_names_carry_the_job_and_are_all_different(found: list[OutputFile], job_id: str) -> None:
    names = names_of(found, job_id)
    assert names.keys() == set(found)
    assert len({name.casefold() for name in names.values()}) == len(found)
    assert names == names_of(reversed(found), job_id)
    for name in names.values():
        assert "/" not in name
        assert len(name.encode()) <= 220
    if job_id == "job":
        assert all(name.startswith("job_") for name in names.values())


def test_two_files_of_one_name_are_told_apart_by_a_number() -> None:
    found = [OutputFile("output", folder, "a.png") for folder in ("", "x")]
    assert list(names_of(found, "job").values()) == ["job_a.png", "job_a_2.png"]


PICTURES = {
    "2": SentPictures(pictures=(b"\x89PNG", b"\xff\xd8jpeg"), is_whole=True),
    "3:1": SentPictures(pictures=(b"\x89PNG",)),
    "4": SentPictures(pictures=(b"\x89PNG",), is_cut=True),
    "5": SentPictures(),
    "6": SentPictures(is_whole=True),
}


def test_what_nodes_have_sent_becomes_files_of_theirs_and_a_mark_for_what_is_missing() -> None:
    found = pictures_of(PICTURES)
    told = {
        node: [(f.filename, c.why if isinstance(c, Missing) else c) for f, c in files.items()]
        for node, files in found.items()
    }
    assert told == {
        "2": [("2_1.png", b"\x89PNG"), ("2_2.jpg", b"\xff\xd8jpeg")],
        "3:1": [("3:1_1.png", b"\x89PNG"), ("3:1_2.png", "missed")],
        "4": [("4_1.png", b"\x89PNG"), ("4_2.png", "too_large")],
        "5": [("5_1.png", "missed")],
    }


def test_pictures_stand_beside_what_their_node_has_put_out() -> None:
    sent = OutputFile("websocket", "", "2_1.png")
    shown = {"filename": "2_1.png", "subfolder": "", "type": "websocket"}
    assert with_pictures({}, {"2": [sent]}) == {"2": {"images": [shown]}}
    before: Outputs = {"2": {"images": [reference("a")], "text": ["x"]}}
    assert with_pictures(before, {"2": [sent]})["2"] == {
        "images": [reference("a"), shown],
        "text": ["x"],
    }
