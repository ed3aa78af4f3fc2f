"""Namespaces that share a place share no bytes: one's sweep removes nothing of another."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from everfold.assets.store_of import open_assets
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.sweeping import Sweeper
from everfold.streams.errors import Misconfigured

pytestmark = pytest.mark.anyio


def age(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 86_400,) * 2)


async def test_a_sweep_of_one_namespace_leaves_the_bytes_of_others(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    async def named(_: Asset) -> bool:
        return True

    async with (
        Log.open(redis_url, namespace=namespace) as one,
        Log.open(redis_url, namespace=f"{namespace}-b") as other,
    ):
        mine, theirs = open_assets(one, tmp_path), open_assets(other, tmp_path)
        asset = (await theirs.put(b"x", name="a")).asset
        await mine.remove((await mine.put(b"x", name="a")).asset.id)
        age(tmp_path)
        assert (await Sweeper(mine, named, grace_s=0).sweep()).blobs == 1
        async with theirs.open(asset.hash) as chunks:
            assert [chunk async for chunk in chunks] == [b"x"]


async def test_a_place_is_refused_under_the_name_that_was_given(
    redis_url: str, namespace: str
) -> None:
    async with Log.open(redis_url, namespace=namespace) as log:
        with pytest.raises(Misconfigured, match=r"ftp://x/y'"):
            open_assets(log, "ftp://x/y")
