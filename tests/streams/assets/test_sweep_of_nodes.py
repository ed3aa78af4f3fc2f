"""A sweep while one node of several is away."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from everfold.streams.assets.asset import Asset
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.assets.sweeping import Sweeper
from everfold.streams.errors import AssetUnknown, PartitionsUnavailable
from tests.support.groups.split_redis import split_log
from tests.support.trouble.fault_proxy import FaultProxy

pytestmark = pytest.mark.anyio


async def named(_: Asset) -> bool:
    return True


async def test_what_is_over_goes_where_servers_answer_and_bytes_wait_for_all(
    server_url: str, namespace: str, tmp_path: Path
) -> None:
    async with (
        FaultProxy(server_url) as proxy,
        split_log(server_url, proxy, namespace, partitions=4, behind=[0, 1]) as log,
    ):
        store = AssetStore(log, BlobFolder(tmp_path / "assets"))
        made = [
            (
                await store.put(f"{number}".encode(), name="a", owner=f"u{number}", keep_s=0.001)
            ).asset
            for number in range(16)
        ]
        await anyio.sleep(0.005)
        proxy.answer_errors("LOADING for ever")
        sweeper = Sweeper(store, named, grace_s=0.0)
        with pytest.raises(PartitionsUnavailable) as raised:
            await sweeper.sweep()
        assert raised.value.partitions == (0, 1)
        assert len([one async for one in store.blobs.walk()]) == 16
        proxy.lift()
        left = list[Asset]()
        for asset in made:
            try:
                left.append(await store.get(asset.id))
            except AssetUnknown:
                continue
        assert 0 < len(left) < 16
        assert (await sweeper.sweep()).expired == len(left)
