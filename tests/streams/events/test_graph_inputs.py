"""References to stored files in graphs: found wherever they stand, replaced, and nothing else."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.assets.asset import asset_id
from everfold.streams.assets.graph_inputs import (
    Reference,
    find_references,
    has_reference,
    with_uploads,
)
from everfold.streams.events.event import AssetInput

HASH = "blake3:" + "ab" * 32
ID = asset_id("generation", "ada", HASH, "photo.png")
TEXT = f"everfold:{ID}"
OBJECT = {"__type": "core/ASSET", "info": {"id": ID, "hash": HASH, "file_path": "photo.png"}}


def load(value: object) -> dict[str, object]:
    return {"10": {"class_type": "LoadImage", "inputs": {"image": value, "upload": "image"}}}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (TEXT, Reference("10.image", asset=ID)),
        (HASH, Reference("10.image", hash=HASH)),
        (OBJECT, Reference("10.image", asset=ID, hash=HASH)),
        ({"__type": "core/ASSET", "info": {"id": ID}}, Reference("10.image", asset=ID)),
        (
            {"__type": "core/ASSET", "info": {"id": None, "hash": HASH}},
            Reference("10.image", hash=HASH),
        ),
    ],
)
def test_each_form_is_found_and_replaced(value: object, found: Reference) -> None:
    assert find_references(load(value)) == [found]
    sent = with_uploads(load(value), {"10.image": "everfold/ab.png"})
    assert sent == load("everfold/ab.png")


def test_references_within_lists_and_objects_have_a_place_of_their_own() -> None:
    value = {"__value__": [OBJECT, {"first": TEXT}, "a.png", ["4", 0]]}
    places = [one.place for one in find_references(load(value))]
    assert places == ["10.image.__value__[0]", "10.image.__value__[1].first"]
    sent = with_uploads(load(value), dict.fromkeys(places, "x.png"))
    assert sent == load({"__value__": ["x.png", {"first": "x.png"}, "a.png", ["4", 0]]})


@pytest.mark.parametrize(
    "info",
    [None, 7, [], {}, {"id": ""}, {"id": "photo.png"}, {"id": [1]}, {"id": ID, "hash": "sha"}],
)
def test_an_object_that_names_nothing_is_found_with_its_fault(info: object) -> None:
    (found,) = find_references(load({"__type": "core/ASSET", "info": info}))
    assert found.fault
    assert not found.means(made())


@pytest.mark.parametrize(
    "value",
    [
        *("photo.png", "everfold: a story", f"{TEXT}.png", f" {TEXT}", TEXT.upper(), "everfold:"),
        *(HASH[:-1], f"{HASH}0", HASH.upper(), "", 7, None, True, ["4", 0]),
        *({"__type": "core/LATENT", "info": {"id": ID}}, {"__type": ["core/ASSET"]}),
    ],
)
def test_what_is_no_reference_stays_as_it_is(value: object) -> None:
    assert find_references(load(value)) == []
    assert with_uploads(load(value), {"10.image": "x.png"}) == load(value)
    assert not has_reference(value)


def test_only_places_that_are_given_are_replaced_and_the_graph_is_not_changed() -> None:
    graph = load(TEXT)
    before = copy.deepcopy(graph)
    assert with_uploads(graph, {"11.image": "x.png"}) == before
    with_uploads(graph, {"10.image": "x.png"})
    assert graph == before


def test_a_reference_means_the_file_of_its_id_or_else_of_its_hash() -> None:
    other = asset_id("generation", "bob", HASH, "photo.png")
    assert Reference("", asset=ID).means(made())
    assert Reference("", hash=HASH).means(made())
    assert not Reference("", asset=other, hash=HASH).means(made())


def made() -> AssetInput:
    return AssetInput(asset=ID, hash=HASH, size_bytes=3, media_type="image/png", name="photo.png")


LEAF = st.sampled_from([TEXT, HASH, OBJECT, None, 7, "a.png", "__type", 1.5])
NAMES = st.sampled_from(["__type", "info", "inputs", "1", "1.a", "a", "a[0]", "class_type"])
ANY = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, ANY, max_size=4))
def test_any_graph_is_read_and_has_none_left_once_all_are_replaced(
    graph: dict[str, object],
) -> None:
    found = find_references(graph)
    sent = with_uploads(graph, {one.place: "x.png" for one in found})
    assert find_references(sent) == []
    assert with_uploads(graph, {}) == graph


def test_a_graph_that_is_deeper_than_allowed_is_read() -> None:
    value: object = TEXT
    for _ in range(500):
        value = [value]
    assert find_references(load(value)) == []
    assert with_uploads(load(value), {"10.image": "x"}) == load(value)
