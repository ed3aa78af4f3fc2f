"""Removes what nobody needs: assets whose time is over, outputs that no job names, bytes without an
asset.

Rule: bytes go only when no asset has them, no open job's graph names them, and they are older than
a grace. They are doomed in every partition first, so that nobody stores them anew meanwhile, and
looked at once more then. Interrupted at any point, the next sweep goes on.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import cast

from msgspec import Struct

from everfold.streams.appending.graph_assets import read_graph_assets
from everfold.streams.assets import asset_scripts
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.asset_scripts import Only
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_store import FoundBlob
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import ClocksApart
from everfold.streams.events.json_text import NotJson
from everfold.streams.events.ranges import check_number
from everfold.streams.redis.each import Outcomes, each
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.pages import hash_pages
from everfold.streams.redis.redis_errors import command, commands
from everfold.streams.redis.server import server_time_ms

logger = get_logger("everfold.assets")

GRACE_S = 3600.0
"""What is younger is left: a transfer, or a submit, may be under way that will name it."""

CLOCKS_APART_S = 600.0
"""Nothing is swept while the clocks of server and sweeper differ by more."""

DOOMED_S = 300.0
"""How long bytes stay doomed: nobody stores them meanwhile."""

DELETE_WITHIN_S = 30.0
"""Bytes that were doomed longer ago are left for the next sweep: this one was frozen."""

FORCED_DOOMED_S, FORCED_WITHIN_S = 10.0, 3.0
"""The same two of bytes that somebody waits for."""

PAGE = 200

IsNamed = Callable[[Asset], Awaitable[bool | None]]
"""Says whether the job that made an asset names it; None while that job is open."""


class Swept(Struct, frozen=True):
    """What a sweep removed, or would remove."""

    expired: int = 0
    """Assets whose time was over."""
    unnamed: int = 0
    """Assets that their job does not name: it was run again, or never ended well."""
    blobs: int = 0
    """Stored bytes that no asset and no open job needs."""
    size_bytes: int = 0
    """Of these."""
    parts: int = 0
    """Files that writers have left half written."""


class Sweeper:
    """One sweep of one store. With `dry` nothing is removed: it only counts."""

    def __init__(
        self, store: AssetStore, is_named: IsNamed, *, grace_s: float = GRACE_S, dry: bool = False
    ) -> None:
        check_number("grace_s", grace_s)
        self._store, self._is_named = store, is_named
        self._grace_s, self._dry = grace_s, dry
        self._gone = set[str]()
        """In a dry sweep: ids of assets that would be removed."""

    async def sweep(self) -> Swept:
        """Remove what nobody needs.

        Raises a leaf of Unavailable, what was done stays; ClocksApart, with nothing done, where the
        server's clock and this machine's differ: one of them may make all seem old.
        """
        now_ms = await self._checked_time_ms()
        # Of a partition that does not answer assets stay; the others' go before that is raised.
        told = [
            await self._remove_in_each(partial(self._expired, now_ms=now_ms), "expired"),
            await self._remove_in_each(partial(self._unnamed, now_ms=now_ms), "unconfirmed"),
        ]
        expired, unnamed = (sum(outcomes.all()) for outcomes in told)
        needed = await self._needed_by_jobs()
        blobs, size_bytes = 0, 0
        async for blob in self._unneeded(needed):
            if self._dry or await self._delete(blob):
                blobs, size_bytes = blobs + 1, size_bytes + blob.size_bytes
        parts = 0 if self._dry else await self._store.blobs.sweep_parts(self._grace_s)
        await self._forget_dooms()
        return Swept(expired, unnamed, blobs, size_bytes, parts)

    async def remove_bytes(self, hashes: Collection[str]) -> tuple[int, list[str]]:
        """Remove bytes at once, without the grace, where no asset and no open job needs them.

        Returns how many bytes that were, and the hashes of those that another process is removing:
        if it has died, they can be removed after FORCED_DOOMED_S. A put of the same ones at this
        moment stores them again, or raises AssetsUnavailable. Raises a leaf of Unavailable; what
        was done stays.
        """
        needed, found = await self._needed_by_jobs(), list[FoundBlob]()
        for content_hash in sorted(set(hashes) - needed):
            blob = await self._store.blobs.find(content_hash)
            if blob is not None:
                found.append(blob)
        size_bytes, left = 0, list[str]()
        for blob in await self._without_asset(found):
            if await self._delete(blob, FORCED_DOOMED_S, FORCED_WITHIN_S):
                size_bytes += blob.size_bytes
            elif await self._store.blobs.find(blob.hash) is not None:
                left.append(blob.hash)
        return size_bytes, left

    async def _checked_time_ms(self) -> int:
        now_ms = await server_time_ms(self._store.log.redis)
        apart_s = abs(now_ms / 1000 - time.time())
        if apart_s > CLOCKS_APART_S:
            raise ClocksApart(apart_s)
        return now_ms

    @property
    def _keys(self) -> Keyspace:
        return self._store.log.keys

    async def _remove_in_each(
        self, find: Callable[[int], AsyncIterator[Asset]], only: Only
    ) -> Outcomes[int]:
        remove = self._remove_each
        return await each(self._store.log, lambda one: remove(find(one), only), at_once=1)

    async def _remove_each(self, assets: AsyncIterator[Asset], only: Only) -> int:
        count = 0
        async for asset in assets:
            if self._dry:
                self._gone.add(asset.id)
            count += self._dry or await self._store.remove_if(asset, only)
        return count

    async def _expired(self, partition: int, *, now_ms: int) -> AsyncIterator[Asset]:
        key = self._keys.assets(partition).expiry()
        async for asset in self._pages(key, now_ms):
            yield asset

    async def _unnamed(self, partition: int, *, now_ms: int) -> AsyncIterator[Asset]:
        """Yield assets that their job does not name; confirm those that are named."""
        before_ms = now_ms - int(self._grace_s * 1000)
        key = self._keys.assets(partition).unconfirmed()
        async for asset in self._pages(key, before_ms):
            is_named = await self._is_named(asset)
            if is_named is False:
                yield asset
            elif is_named and not self._dry:
                await command(self._store.log.redis, "ZREM", key, asset.id)

    async def _pages(self, key: str, most_ms: int) -> AsyncIterator[Asset]:
        """Yield the assets of a sorted set up to a time; some of them are removed meanwhile."""
        after, redis = "-inf", self._store.log.redis
        seen = set[str]()
        while True:
            ask = ("ZRANGEBYSCORE", key, after, most_ms, "WITHSCORES", "LIMIT", 0, PAGE + len(seen))
            flat = cast("list[bytes]", await command(redis, *ask))
            names = [name.decode(errors="replace") for name in flat[::2]]
            found = [name for name in names if name not in seen]
            if not found:
                return
            last = flat[-1].decode()
            seen = {*(seen if last == after else ()), *found}
            after = last
            for asset in await self._store.get_many(found):
                yield asset

    async def _needed_by_jobs(self) -> set[str]:
        """Return the hashes that graphs of open jobs name; forget the graphs of ended ones."""
        needed, redis = set[str](), self._store.log.redis
        before_ms = await server_time_ms(redis) - int(self._grace_s * 1000)
        for partition in range(self._keys.partitions):
            async for page in hash_pages(redis, self._keys.graph_assets(partition)):
                for sha256, said in page.items():
                    needed.update(await self._named_by(partition, sha256, said, before_ms))
        return needed

    async def _named_by(
        self, partition: int, sha256: bytes, said: bytes, before_ms: int
    ) -> list[str]:
        try:
            graph = read_graph_assets(said)
        except NotJson:
            return []
        name, redis = sha256.decode(errors="replace"), self._store.log.redis
        is_open = await command(redis, "HEXISTS", self._keys.workflows(partition), name)
        if is_open or graph.at_ms > before_ms:
            return graph.hashes
        if not self._dry:
            forget = asset_scripts.forget_graph_assets
            if not await forget(redis, self._keys, partition, name, said):
                return graph.hashes
        return []

    async def _unneeded(self, needed: set[str]) -> AsyncIterator[FoundBlob]:
        """Yield stored bytes that are older than the grace and that nobody names."""
        page = list[FoundBlob]()
        async for blob in self._store.blobs.walk():
            if blob.hash not in needed:
                page.append(blob)
            if len(page) == PAGE:
                for one in await self._old_without_asset(page):
                    yield one
                page.clear()
        for one in await self._old_without_asset(page):
            yield one

    async def _old_without_asset(self, blobs: Sequence[FoundBlob]) -> list[FoundBlob]:
        oldest_ms = await self._store.blobs.now_ms() - int(self._grace_s * 1000)
        return [one for one in await self._without_asset(blobs) if one.written_ms < oldest_ms]

    async def _without_asset(self, blobs: Sequence[FoundBlob]) -> list[FoundBlob]:
        if not blobs:
            return []
        named, hashes = set[str](), [blob.hash for blob in blobs]
        asked = [
            ("HMGET", self._keys.assets(partition).blobs(), *hashes)
            for partition in range(self._keys.partitions)
        ]
        for reply in await commands(self._store.log.redis, asked):
            counts = cast("list[bytes | None]", reply)
            named |= {one for one, count in zip(hashes, counts, strict=True) if count is not None}
        return [one for one in blobs if one.hash not in named]

    async def _delete(
        self, blob: FoundBlob, doomed_s: float = DOOMED_S, within_s: float = DELETE_WITHIN_S
    ) -> bool:
        """Remove bytes unless somebody has named or stored them since they were looked at."""
        began_s, redis = steady_s(), self._store.log.redis
        for partition in range(self._keys.partitions):
            keys = self._keys.assets(partition)
            if not await asset_scripts.doom_blob(redis, keys, blob.hash, int(doomed_s * 1000)):
                await self._forgive(blob.hash, partition)
                return False
        found = await self._store.blobs.find(blob.hash)
        is_same = found is not None and found.written_ms == blob.written_ms
        if not is_same or steady_s() - began_s > within_s:
            await self._forgive(blob.hash, self._keys.partitions)
            return False
        logger.info("blob_removed hash=%s bytes=%d", blob.hash, blob.size_bytes)
        was_there = await self._store.blobs.delete(blob.hash)
        await self._forgive(blob.hash, self._keys.partitions)
        return was_there

    async def _forgive(self, content_hash: str, partitions: int) -> None:
        """Take back that bytes are doomed in the first partitions."""
        for partition in range(partitions):
            key = self._keys.assets(partition).doomed()
            await command(self._store.log.redis, "HDEL", key, content_hash)

    async def _forget_dooms(self) -> None:
        """Remove the marks whose time is over."""
        redis = self._store.log.redis
        now_ms = await server_time_ms(redis)
        for partition in range(self._keys.partitions):
            key = self._keys.assets(partition).doomed()
            async for page in hash_pages(redis, key):
                over = [name for name, at in page.items() if not at.isdigit() or int(at) <= now_ms]
                if over and not self._dry:
                    await command(redis, "HDEL", key, *over)
