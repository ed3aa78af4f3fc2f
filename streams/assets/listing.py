"""The assets of one owner or of all, the newest first.

Rule: bounded: a page has at most LIST_LIMIT assets, and says where the next one begins.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import AsyncIterator, Sequence
from typing import cast

from msgspec import Struct

from everfold.streams.assets.asset import Asset
from everfold.streams.assets.asset_store import AssetStore, read_asset, whole_ms
from everfold.streams.errors import InvalidName
from everfold.streams.events.checks import check_text
from everfold.streams.events.json_text import NotJson
from everfold.streams.events.ranges import check_number
from everfold.streams.redis.pages import hash_pages
from everfold.streams.redis.partition_keys import AssetKeys
from everfold.streams.redis.redis_errors import commands

LIST_LIMIT = 1_000
HASHES_LOOKED_AT = 10_000
"""The newest assets among which one is looked for by its hash."""
OWNERS_AT_ONCE = 500

_CURSOR = re.compile(r"([0-9]{1,15})-([0-9a-f-]{36})")

Place = tuple[int, str]
"""Time of its making in Unix ms, and id: the order of a list."""

LAST: Place = (2**53, "g")
"""Beyond all assets."""


class AssetPage(Struct, frozen=True):
    """A page of assets, the newest first."""

    assets: list[Asset]
    cursor: str | None
    """For the next page, None after the last one."""


class OwnerUse(Struct, frozen=True):
    """What one owner has stored."""

    owner: str
    size_bytes: int


async def list_assets(
    store: AssetStore, owner: str | None = None, *, limit: int = 50, cursor: str | None = None
) -> AssetPage:
    """Return a page of the assets of an owner, None for all owners.

    Raises InvalidName for a cursor that no page had, a leaf of Unavailable.
    """
    check_number("limit", limit)
    after, most = _read_cursor(cursor), min(limit, LIST_LIMIT)
    if owner is not None:
        keys = store.keys_of_owner(check_text("owner", owner))
        places = await _newest(store, [(keys, owner)], after, most + 1)
    else:
        places = await _newest_of_all(store, after, most + 1)
    shown = places[:most]
    assets = await store.get_many([asset for _, asset in shown])
    more = len(places) > most
    return AssetPage(assets, f"{shown[-1][0]}-{shown[-1][1]}" if more else None)


async def find_by_hash(store: AssetStore, owner: str | None, content_hash: str) -> Asset | None:
    """Return the newest asset of an owner (None for all) that has these bytes, among the
    HASHES_LOOKED_AT newest; None where there is none. Raises a leaf of Unavailable.
    """
    cursor: str | None = None
    for _ in range(HASHES_LOOKED_AT // LIST_LIMIT):
        page = await list_assets(store, owner, limit=LIST_LIMIT, cursor=cursor)
        for asset in page.assets:
            if asset.hash == content_hash:
                return asset
        cursor = page.cursor
        if cursor is None:
            break
    return None


def _read_cursor(cursor: str | None) -> Place:
    if cursor is None:
        return LAST
    found = _CURSOR.fullmatch(str(cursor))
    if not found:
        raise InvalidName("cursor", cursor, "pass the cursor of the page before")
    return int(found[1]), found[2]


async def _newest_of_all(store: AssetStore, after: Place, most: int) -> list[Place]:
    found = list[Place]()
    waiting = list[tuple[AssetKeys, str]]()
    async for keys, use in owner_uses(store):
        waiting.append((keys, use.owner))
        if len(waiting) == OWNERS_AT_ONCE:
            found = heapq.nlargest(most, found + await _newest(store, waiting, after, most))
            waiting.clear()
    return heapq.nlargest(most, found + await _newest(store, waiting, after, most))


async def _newest(
    store: AssetStore, owners: Sequence[tuple[AssetKeys, str]], after: Place, most: int
) -> list[Place]:
    """Return the newest assets of several owners that come after a place."""
    replies = await commands(
        store.log.redis,
        [
            ("ZREVRANGEBYSCORE", keys.owned(owner), after[0], "-inf", "WITHSCORES",
             "LIMIT", 0, most + LIST_LIMIT if after != LAST else most)
            for keys, owner in owners
        ],
    )  # fmt: skip
    found = list[Place]()
    for reply in replies:
        flat = cast("list[bytes]", reply)
        places = (
            (whole_ms(score), asset.decode(errors="replace"))
            for asset, score in zip(flat[::2], flat[1::2], strict=True)
        )
        found += [place for place in places if place < after]
    return heapq.nlargest(most, found)


async def owner_uses(store: AssetStore) -> AsyncIterator[tuple[AssetKeys, OwnerUse]]:
    """Yield each owner that has stored something, in no order."""
    keys = store.log.keys
    for partition in range(keys.partitions):
        of_partition = keys.assets(partition)
        async for page in hash_pages(store.log.redis, of_partition.owners()):
            for owner, text in page.items():
                size = int(text) if text.isdigit() else 0
                yield of_partition, OwnerUse(owner.decode(errors="replace"), size)


async def all_assets(store: AssetStore) -> AsyncIterator[Asset]:
    """Yield every asset without its expiry, in no order; those that cannot be read are left out."""
    keys = store.log.keys
    for partition in range(keys.partitions):
        async for page in hash_pages(store.log.redis, keys.assets(partition).records()):
            for record in page.values():
                try:
                    yield read_asset(record)
                except NotJson:
                    continue
