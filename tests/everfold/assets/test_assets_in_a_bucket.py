"""Assets with their bytes in a bucket: stored, read, verified and swept as in a folder."""

from __future__ import annotations

import pytest

from everfold.assets import blob_bucket
from everfold.assets.blob_bucket import BlobBucket
from everfold.streams.appending.log import Log
from everfold.streams.assets import sweeping
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.sweeping import Sweeper, Swept
from everfold.streams.errors import AssetGone
from tests.support.sources import some_bytes
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

WHOLE = some_bytes(6 * 2**20)


async def is_named(_: Asset) -> bool:
    return True


async def test_assets_are_stored_read_and_swept_in_a_bucket(
    redis_url: str, namespace: str, bucket: BlobBucket
) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        store = AssetStore(log, bucket)
        kept = (await store.put(b"kept", name="a.txt", owner="ada")).asset
        gone = (await store.put(WHOLE, name="b.bin", owner="ada")).asset
        async with store.open(gone.hash, 5, 5_500_000) as pieces:
            assert b"".join([piece async for piece in pieces]) == WHOLE[5:5_500_000]

        assert await store.remove(gone.id)
        assert await Sweeper(store, is_named).sweep() == Swept()
        least_ms = await bucket.now_ms()

        async def ticked() -> bool:
            return await bucket.now_ms() > least_ms  # in whole seconds

        await eventually(ticked)
        swept = await Sweeper(store, is_named, grace_s=0).sweep()
        assert swept == Swept(blobs=1, size_bytes=len(WHOLE))

        with pytest.raises(AssetGone):
            async with store.open(gone.hash):
                pass
        async with store.open(kept.hash) as pieces:
            assert [piece async for piece in pieces] == [b"kept"]


def test_a_sweeper_waits_for_longer_than_bytes_count_as_fresh() -> None:
    """A writer that finds fresh bytes does not send them: no sweeper may take them meanwhile."""
    assert blob_bucket.FRESH_S * 2 < sweeping.GRACE_S
