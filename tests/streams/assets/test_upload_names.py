"""The names of uploads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.appending.log import Log
from everfold.streams.assets import upload_names
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.assets.upload_names import all_names, find_named, name_upload, upload_key
from everfold.streams.errors import InvalidName, TooLarge

pytestmark = pytest.mark.anyio


@pytest.fixture
async def assets(redis_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[AssetStore]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield AssetStore(log, BlobFolder(tmp_path / "assets"))


@given(st.text(max_size=30) | st.sampled_from(["../a", "a/..", "/a", "a//b", "C:/x", "a\\..\\b"]))
def test_a_name_leads_nowhere(text: str) -> None:
    try:
        key = upload_key(text)
    except InvalidName:
        return
    assert all(part not in ("", ".", "..") for part in key.split("/"))
    assert not any(ord(letter) < 32 for letter in key)


async def test_a_name_whose_file_is_gone_is_free_again(assets: AssetStore) -> None:
    first = (await assets.put(b"one", name="cat.png", owner="ann")).asset
    second = (await assets.put(b"two", name="cat.png", owner="ann")).asset
    assert await name_upload(assets, first, "cat.png") == "cat.png"
    await assets.remove(first.id)

    assert await all_names(assets, "ann") == []
    assert await name_upload(assets, second, "cat.png") == "cat.png"
    assert (await find_named(assets, "ann", ["cat.png"]))["cat.png"].asset == second.id
    assert await find_named(assets, "bob", ["cat.png"]) == {}


async def test_folders_of_comfyui_have_names_of_their_own(assets: AssetStore) -> None:
    files = [(await assets.put(bytes([n]), name="a.png", owner="")).asset for n in range(3)]
    for asset, kind in zip(files, ("input", "temp", "output"), strict=True):
        assert await name_upload(assets, asset, "a.png", kind=kind) == "a.png"

    assert await all_names(assets, "") == ["a.png"]
    found = await find_named(assets, "", [upload_key("a.png", "temp")])
    assert [one.asset for one in found.values()] == [files[1].id]


async def test_an_owner_has_no_more_names_than_the_limit(
    assets: AssetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_names, "NAMES_LIMIT", 1)
    asset = (await assets.put(b"one", name="a.png", owner="ann")).asset
    await name_upload(assets, asset, "a.png")
    await name_upload(assets, asset, "a.png")

    with pytest.raises(TooLarge):
        await name_upload(assets, asset, "b.png")
