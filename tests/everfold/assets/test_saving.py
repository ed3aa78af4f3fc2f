"""Stored bytes are written into files of any file system, and nothing else is changed by that."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold.assets.saving import save_asset
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.errors import Misconfigured

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(redis_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[AssetStore]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield AssetStore(log, BlobFolder(tmp_path / "assets"))


async def test_a_file_has_the_rights_of_others_and_the_process_keeps_its_mask(
    store: AssetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = (await store.put(b"x", name="a")).asset
    other = tmp_path / "other"
    other.touch()

    def refused(mask: int) -> int:
        raise AssertionError("other threads make files meanwhile")

    monkeypatch.setattr(os, "umask", refused)
    assert await save_asset(store, asset.hash, tmp_path / "file", overwrite=False)
    assert (tmp_path / "file").stat().st_mode == other.stat().st_mode


async def test_a_file_is_saved_where_there_are_no_hard_links(
    store: AssetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    asset, path = (await store.put(b"x", name="a")).asset, tmp_path / "out" / "file"
    path.parent.mkdir()
    assert await save_asset(store, asset.hash, path, overwrite=False)
    assert path.read_bytes() == b"x"
    path.write_bytes(b"other")
    assert not await save_asset(store, asset.hash, path, overwrite=False)
    assert path.read_bytes() == b"other"
    assert [one.name for one in path.parent.iterdir()] == ["file"]


async def test_what_is_no_file_is_not_replaced(store: AssetStore, tmp_path: Path) -> None:
    asset, pipe = (await store.put(b"x", name="a")).asset, tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(Misconfigured, match="it is no file"):
        await save_asset(store, asset.hash, pipe)
    assert pipe.is_fifo()
