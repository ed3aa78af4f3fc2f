"""What a job needs and a server lacks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.capabilities.fits import (
    MissingClass,
    MissingLabel,
    MissingModel,
    Server,
    able,
    missing,
    why_none,
)
from everfold.runner.capabilities.object_info import ObjectInfo, read_object_info
from everfold.streams.events.needs import ModelFile, Needs, needs_of


def info(files: list[str], *classes: str, upload: bool = False) -> ObjectInfo:
    options = {"image_upload": True} if upload else {}
    loader = {"input": {"required": {"ckpt_name": [files, options]}}}
    named = {"Loader": loader, **dict.fromkeys(classes, loader)}
    return read_object_info(json.dumps(named).encode())


def loads(name: str) -> Needs:
    return needs_of({"1": {"class_type": "Loader", "inputs": {"ckpt_name": name}}})


def test_a_server_that_has_all_lacks_nothing() -> None:
    assert missing(loads("a.safetensors"), info(["a.safetensors"])) == ()


@pytest.mark.parametrize("listed", ["xl\\a.safetensors", "xl/a.safetensors"])
@pytest.mark.parametrize("asked", ["xl\\a.safetensors", "xl/a.safetensors"])
def test_a_folder_is_written_either_way(listed: str, asked: str) -> None:
    assert missing(loads(asked), info([listed])) == ()


def test_a_missing_class_is_named_once_and_its_files_are_not() -> None:
    needs = Needs(("Other",), (ModelFile("Other", "ckpt_name", "x.safetensors"),))

    assert missing(needs, info([])) == (MissingClass("Other"),)


def test_a_missing_file_and_a_missing_label_are_named() -> None:
    needs = needs_of({"1": {"class_type": "Loader", "inputs": {"ckpt_name": "b.pt"}}}, ["big"])

    file = ModelFile("Loader", "ckpt_name", "b.pt")
    assert missing(needs, info(["a.pt"]), {"small"}) == (MissingLabel("big"), MissingModel(file))


def test_an_unknown_server_may_have_everything_but_labels() -> None:
    assert missing(loads("x.pt"), None) == ()
    assert missing(Needs(labels=("big",)), None) == (MissingLabel("big"),)


def test_what_is_no_list_or_takes_uploads_has_every_file() -> None:
    text = {"Loader": {"input": {"required": {"ckpt_name": ["STRING", {}]}}}}
    free = read_object_info(json.dumps(text).encode())

    assert missing(loads("x.pt"), free) == ()
    assert missing(loads("x.pt"), info([], upload=True)) == ()


def test_only_servers_that_have_all_are_able() -> None:
    one, two = Server("one", info(["a.pt"])), Server("two", info(["a.pt", "b.pt"]))

    assert able([one, two], loads("b.pt")) == [two]


def test_what_no_server_has_is_told_with_the_nearest_name() -> None:
    servers = [Server("one", info(["a.pt"], "ImageInvert")), Server("two", info(["v1-5.pt"]))]

    assert why_none(servers, Needs(("imageinvrt",))) == (
        "no server has node imageinvrt (nearest: ImageInvert)"
    )
    assert why_none(servers, loads("v1-4.pt")) == (
        "no server has model v1-4.pt (ckpt_name of Loader) (nearest: v1-5.pt)"
    )
    assert why_none(servers, Needs(labels=("gpu",))) == "no server has label gpu"


def test_where_each_server_lacks_something_else_each_is_named() -> None:
    servers = [Server("one", info([], "A")), Server("two", info([], "B"))]

    assert why_none(servers, Needs(("A", "B"))) == (
        "no server has all that it needs: one has no node B; two has no node A"
    )


TEXTS = st.sets(st.sampled_from("abcdefgh"))


@given(TEXTS, TEXTS)
def test_a_server_can_run_exactly_what_needs_no_more_than_it_has(
    needed: set[str], has: set[str]
) -> None:
    found = missing(Needs(tuple(sorted(needed))), info([], *has))

    assert {one.class_type for one in found if isinstance(one, MissingClass)} == needed - has
    assert bool(found) == bool(needed - has)
