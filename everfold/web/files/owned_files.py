"""Finds files among those of one owner by their bytes, and gives them further names."""

from __future__ import annotations

from everfold.streams.assets.asset import INPUT_KEEP_S, Asset, check_hash
from everfold.streams.assets.asset_store import AssetStore, Stored
from everfold.streams.assets.listing import find_by_hash
from everfold.streams.errors import AssetGone, InvalidName
from everfold.streams.redis.redis_errors import commands
from everfold.web.caller import Caller


async def file_with_bytes(store: AssetStore, caller: Caller, content_hash: str) -> Asset | None:
    """Return a file with these bytes that the caller may know of, None where there is none."""
    try:
        check_hash(content_hash)
    except InvalidName:
        return None
    if not await _is_known(store, caller, content_hash):
        return None  # the usual answer before an upload costs one trip
    return await find_by_hash(store, caller.scope, content_hash)


async def _is_known(store: AssetStore, caller: Caller, content_hash: str) -> bool:
    """Say whether a partition in which the caller may have files has one with these bytes."""
    keys = store.log.keys
    places = [keys.assets(partition) for partition in range(keys.partitions)]
    if caller.scope is not None:
        places = [store.keys_of_owner(caller.scope)]
    found = await commands(store.log.redis, [("HGET", k.blobs(), content_hash) for k in places])
    return any(count is not None for count in found)


async def named_again(store: AssetStore, caller: Caller, file: Asset, name: str) -> Stored | None:
    """Make bytes that are stored a file of the caller; None where they are there no more.

    Raises QuotaFull, and a leaf of Unavailable.
    """
    try:
        return await store.put_stored(file, name=name, owner=caller.user, keep_s=INPUT_KEEP_S)
    except AssetGone:
        return None
