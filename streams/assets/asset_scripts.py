"""One typed coroutine per Lua script that knows assets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from redis.asyncio import Redis

from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.partition_keys import AssetKeys
from everfold.streams.redis.script import Script

Only = Literal["any", "expired", "unconfirmed"]

_put_asset = Script("everfold.streams", "put_asset")
_extend_asset = Script("everfold.streams", "extend_asset")
_remove_asset = Script("everfold.streams", "remove_asset")
_name_upload = Script("everfold.streams", "name_upload")
_doom_blob = Script("everfold.streams", "doom_blob")
_forget_graph_assets = Script("everfold.streams", "forget_graph_assets")


def touched(keys: AssetKeys, owner: str) -> tuple[str, ...]:
    """Return the keys that putting and removing an asset touch, in the order of their KEYS."""
    named = (keys.records(), keys.owned(owner), keys.owners(), keys.expiry(), keys.unconfirmed())
    return (*named, keys.blobs())


async def put_asset(
    redis: Redis,
    keys: AssetKeys,
    *,
    asset: str,
    content_hash: str,
    size_bytes: int,
    owner: str,
    record: bytes,
    quota_bytes: int,
    kept_ms: int,
    is_unconfirmed: bool,
) -> list[object]:
    """Run put_asset.lua. Return one of its outcomes."""
    of_bytes = (content_hash, size_bytes, owner, record, quota_bytes)
    arguments = (asset, *of_bytes, kept_ms, int(is_unconfirmed))
    return await _put_asset.run(redis, (*touched(keys, owner), keys.doomed()), arguments)


async def extend_asset(redis: Redis, keys: AssetKeys, asset: str, kept_ms: int) -> bytes | None:
    """Run extend_asset.lua. Return the record, None where there is no such asset."""
    reply = await _extend_asset.run(redis, (keys.records(), keys.expiry()), (asset, kept_ms))
    return cast("bytes", reply[1]) if reply[0] == b"kept" else None


async def name_upload(
    redis: Redis,
    keys: AssetKeys,
    *,
    owner: str,
    stem: str,
    ending: str,
    asset: str,
    content_hash: str,
    overwrite: bool,
    kept_ms: int,
    most: int,
    tries: int,
) -> bytes | None:
    """Run name_upload.lua. Return the name, None where there is none to be had."""
    of_asset = (asset, content_hash, int(overwrite))
    reply = await _name_upload.run(
        redis, (keys.names(owner), keys.records()), (stem, ending, *of_asset, kept_ms, most, tries)
    )
    return cast("bytes", reply[1]) if reply[0] == b"named" else None


async def remove_asset(
    redis: Redis,
    keys: AssetKeys,
    *,
    asset: str,
    content_hash: str,
    size_bytes: int,
    owner: str,
    only: Only,
) -> bool:
    """Run remove_asset.lua. Say whether it was removed."""
    arguments = (asset, content_hash, size_bytes, owner, only)
    reply = await _remove_asset.run(redis, touched(keys, owner), arguments)
    return reply[0] == b"removed"


async def doom_blob(redis: Redis, keys: AssetKeys, content_hash: str, for_ms: int) -> bool:
    """Run doom_blob.lua. Say whether the bytes may be removed, as far as this partition knows."""
    reply = await _doom_blob.run(redis, (keys.blobs(), keys.doomed()), (content_hash, for_ms))
    return reply[0] == b"doomed"


async def forget_graph_assets(
    redis: Redis, keys: Keyspace, partition: int, sha256: str, said: bytes
) -> bool:
    """Run forget_graph_assets.lua. Say whether it was forgotten."""
    touches: Sequence[str] = (keys.graph_assets(partition), keys.workflows(partition))
    reply = await _forget_graph_assets.run(redis, touches, (sha256, said))
    return reply[0] == b"forgotten"
