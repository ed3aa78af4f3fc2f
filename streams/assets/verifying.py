"""Compares what is known of assets with what the store has, byte for byte.

Rule: reads only, in bounded memory. Bytes are hashed again; what is missing, damaged or counted
wrong is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

from blake3 import blake3
from msgspec import Struct

from everfold.streams.assets.asset import HASH_PREFIX, shown_asset
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.listing import all_assets
from everfold.streams.errors import AssetGone, AssetsUnavailable
from everfold.streams.redis.pages import hash_pages


class AssetProblem(Struct, frozen=True):
    """Something that is not as it should be."""

    what: str
    """missing, damaged, or miscounted."""
    hash: str
    sentence: str


async def verify_assets(
    store: AssetStore, *, read_bytes: bool = True
) -> AsyncIterator[AssetProblem]:
    """Yield what is wrong. Without `read_bytes` only sizes are compared.

    Raises a leaf of Unavailable. What is stored or removed meanwhile may be told as wrong.
    """
    sizes, counts = dict[str, int](), Counter[tuple[int, str]]()
    keys = store.log.keys
    partition_of = {keys.assets(partition): partition for partition in range(keys.partitions)}
    async for asset in all_assets(store):
        counts[partition_of[store.keys_of(asset.id)], asset.hash] += 1
        if asset.hash in sizes:
            continue
        sizes[asset.hash] = asset.size_bytes
        found = await store.blobs.find(asset.hash)
        if found is None:
            why = f"{shown_asset(asset)}: the store does not have its bytes"
            yield AssetProblem("missing", asset.hash, why)
        elif found.size_bytes != asset.size_bytes:
            why = f"{shown_asset(asset)} has {found.size_bytes:,} bytes, not {asset.size_bytes:,}"
            yield AssetProblem("damaged", asset.hash, why)
        elif read_bytes and (why := await _damage(store, asset.hash)):
            yield AssetProblem("damaged", asset.hash, f"{shown_asset(asset)}: {why}")
    async for problem in _miscounted(store, counts):
        yield problem


async def _damage(store: AssetStore, content_hash: str) -> str:
    """Return what is wrong with stored bytes, empty for nothing."""
    digest = blake3()
    try:
        async with store.open(content_hash) as chunks:
            async for chunk in chunks:
                digest.update(chunk)
    except (AssetGone, AssetsUnavailable) as error:
        return f"its bytes cannot be read: {error}"
    found = HASH_PREFIX + digest.hexdigest()
    return "" if found == content_hash else f"its bytes have changed: they have {found} now"


async def _miscounted(
    store: AssetStore, counts: Counter[tuple[int, str]]
) -> AsyncIterator[AssetProblem]:
    keys = store.log.keys
    for partition in range(keys.partitions):
        key, told = keys.assets(partition).blobs(), dict[str, str]()
        async for page in hash_pages(store.log.redis, key):
            told.update({name.decode(errors="replace"): one.decode(errors="replace")
                         for name, one in page.items()})  # fmt: skip
        real = {name: count for (place, name), count in counts.items() if place == partition}
        for name in sorted(told.keys() | real.keys()):
            if told.get(name, "0") != str(real.get(name, 0)):
                why = f"{key} counts {told.get(name, 'no')} assets with {name}; there are"
                yield AssetProblem("miscounted", name, f"{why} {real.get(name, 0)}")
