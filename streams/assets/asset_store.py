"""Stores bytes and what is known of them: records in Redis, bytes in a folder or bucket.

Rule: the bytes come first, then the record that names them, then a look whether the bytes are still
there: a sweeper may remove what nobody names at any time.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import cast

import msgspec
from msgspec import UNSET, Struct, UnsetType

from everfold.streams.appending.log import Log
from everfold.streams.assets import asset_scripts
from everfold.streams.assets.asset import (
    OUTPUT_KEEP_S,
    Asset,
    asset_id,
    check_asset_id,
    is_asset_id,
    number_of,
    owner_number,
    safe_name,
)
from everfold.streams.assets.asset_scripts import Only
from everfold.streams.assets.blob_store import BEGINNING_BYTES, BLOB_LIMIT_BYTES, Blob, BlobStore
from everfold.streams.assets.given_bytes import stream_of
from everfold.streams.assets.quotas import quota_of
from everfold.streams.assets.sniffing.media_types import describe
from everfold.streams.errors import AssetsUnavailable, AssetUnknown, InvalidName, QuotaFull
from everfold.streams.events.checks import check_text
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.limits import LAST_DATE_MS
from everfold.streams.events.ranges import check_number
from everfold.streams.redis.partition_keys import AssetKeys
from everfold.streams.redis.redis_errors import command, commands
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.server import server_time_ms

TRIES = 3
"""Times that the same bytes are stored again where a sweeper removed them meanwhile."""

LOOKED_AT = 1_000
"""The newest assets of an owner among which one is looked for that is stored again."""

Source = AsyncIterator[bytes] | bytes | Path


class Stored(Struct, frozen=True):
    """The outcome of a put."""

    asset: Asset
    created: bool
    """False where the owner had the same bytes under the same name already."""


read_asset = decoder(Asset)
"""A record without its expiry. Raises NotJson."""


class AssetStore:
    """The assets of one namespace, with their bytes in `blobs`. Many tasks may use it at once.

    What is stored is kept for `keep_s` seconds, None for ever, where a call does not say. Every
    call may raise a leaf of Unavailable: AssetsUnavailable for the bytes, others for the records.
    """

    def __init__(
        self,
        log: Log,
        blobs: BlobStore | Callable[[], BlobStore],
        *,
        keep_s: float | None = OUTPUT_KEEP_S,
    ) -> None:
        """A function as `blobs` opens their place for the namespace as it is now."""
        check_number("keep_s", keep_s)
        self.log = log
        self._blobs, self._opened_for = blobs, log.generation
        self._opened = blobs() if callable(blobs) else blobs
        self.keep_s = keep_s

    @property
    def blobs(self) -> BlobStore:
        """Where the bytes are; another place once another program has made the namespace."""
        if self._opened_for != self.log.generation:
            self._opened_for = self.log.generation
            self._opened = self._blobs() if callable(self._blobs) else self._blobs
        return self._opened

    @property
    def url(self) -> str:
        """Where the bytes are, as people write it."""
        return self.blobs.url

    def keys_of(self, asset: str) -> AssetKeys:
        """Return the keys of an asset's partition, which is its owner's."""
        return self.log.keys.assets(owner_number(asset) % self.log.keys.partitions)

    def keys_of_owner(self, owner: str) -> AssetKeys:
        return self.log.keys.assets(number_of(owner) % self.log.keys.partitions)

    async def put(
        self,
        source: Source,
        *,
        name: str,
        owner: str = "",
        keep_s: float | UnsetType | None = UNSET,
        job_id: str = "",
        expected_hash: str = "",
        expected_bytes: int | None = None,
        most_bytes: int = BLOB_LIMIT_BYTES,
    ) -> Stored:
        """Store bytes, a file, or all that a stream yields, and make the asset known.

        The same bytes of the same owner under the same name are the same asset, which is then kept
        for as long as is asked now, if that is longer. `keep_s` is in seconds: None for ever, unset
        as the store keeps others. `job_id` says which job made it: it is removed again where that
        job ends without naming it. Nothing is known of it after an error: bytes that were written
        are swept.

        Raises QuotaFull, HashMismatch, TooLarge, InvalidName; an error of the stream as it is.
        """
        owner, kept_s = check_text("owner", owner), self._kept_s(keep_s)
        await self.log.make()
        if expected_bytes is not None:
            await self._check_quota(owner, safe_name(name), expected_bytes)
        tries = 1 if isinstance(source, AsyncIterator) else TRIES
        for _ in range(tries):
            async with contextlib.aclosing(stream_of(source)) as stream:
                blob = await self.blobs.put(
                    stream,
                    expected_hash=expected_hash,
                    expected_bytes=expected_bytes,
                    most_bytes=most_bytes,
                )
            stored = await self._record(blob, safe_name(name), owner, kept_s, job_id)
            if stored is not None:
                return stored
        raise AssetsUnavailable(self.url, f"{blob.hash} is being removed; store it again")

    async def put_stored(
        self, asset: Asset, *, name: str, owner: str, keep_s: float | UnsetType | None = UNSET
    ) -> Stored | None:
        """Make the bytes of an asset known under another name, or as another owner's.

        They are not written again. None where they are being removed. Raises AssetGone, QuotaFull,
        InvalidName.
        """
        owner, kept_s = check_text("owner", owner), self._kept_s(keep_s)
        async with self.open(asset.hash, 0, BEGINNING_BYTES) as chunks:
            beginning = b"".join([chunk async for chunk in chunks])
        blob = Blob(asset.hash, asset.size_bytes, beginning)
        return await self._record(blob, safe_name(name), owner, kept_s, "")

    async def restore(self, asset: Asset, source: Source) -> Stored:
        """Store bytes under the id that they had in another namespace, as an import does.

        What they are is looked at anew. They are kept from now as long as they were to be kept
        there; no quota is looked at. Raises HashMismatch, and InvalidName for an id that its owner
        cannot have.
        """
        owner, known_as = check_text("owner", asset.owner), check_asset_id(asset.id)
        if owner_number(known_as) != number_of(owner):
            raise InvalidName("asset", known_as, "an asset of this owner has another id")
        lasts_s = (asset.expires_ms - asset.created_ms) / 1000 if asset.expires_ms else None
        async with contextlib.aclosing(stream_of(source)) as stream:
            blob = await self.blobs.put(
                stream, expected_hash=asset.hash, expected_bytes=asset.size_bytes
            )
        name = safe_name(asset.name)
        stored = await self._record(blob, name, owner, lasts_s, asset.job_id, known_as)
        if stored is None:
            raise AssetsUnavailable(self.url, f"{blob.hash} is being removed; store it again")
        return stored

    def _kept_s(self, keep_s: float | UnsetType | None) -> float | None:
        check_number("keep_s", None if keep_s is UNSET else keep_s)
        return self.keep_s if isinstance(keep_s, UnsetType) else keep_s

    async def _record(
        self,
        blob: Blob,
        name: str,
        owner: str,
        keep_s: float | None,
        job_id: str,
        known_as: str = "",
    ) -> Stored | None:
        """Make the asset known; None where a sweeper has removed its bytes, or is about to.

        `known_as` is the id of one that is restored.
        """
        redis, quota = self.log.redis, 0 if known_as else await quota_of(self.log, owner)
        asset = await self._described(blob, name, owner, job_id)
        if known_as:
            asset = msgspec.structs.replace(asset, id=known_as)
        keys = self.keys_of(asset.id)

        async def write() -> list[object]:
            return await asset_scripts.put_asset(
                redis,
                keys,
                asset=asset.id,
                content_hash=asset.hash,
                size_bytes=asset.size_bytes,
                owner=owner,
                record=msgspec.json.encode(asset),
                quota_bytes=quota,
                kept_ms=_kept_ms(keep_s),
                is_unconfirmed=bool(job_id) and not known_as,
            )

        reply = await with_retry(write, self.log.retry_for_s)
        if reply[0] == b"full":
            raise QuotaFull(owner, cast("int", reply[1]), quota, blob.size_bytes)
        if reply[0] == b"doomed":
            return None
        created = reply[0] == b"stored"
        if await self.blobs.find(blob.hash) is None:
            if created:
                await self.remove_if(asset, "any")
            return None
        return Stored(await self.get(asset.id), created)

    async def _described(self, blob: Blob, name: str, owner: str, job_id: str) -> Asset:
        found = describe(blob.beginning, name)
        return Asset(
            id=asset_id(self.log.generation, owner, blob.hash, name),
            hash=blob.hash,
            size_bytes=blob.size_bytes,
            media_type=found.media_type,
            name=name,
            owner=owner,
            created_ms=await server_time_ms(self.log.redis),
            job_id=job_id,
            width=found.width,
            height=found.height,
        )

    async def _check_quota(self, owner: str, name: str, wanted_bytes: int) -> None:
        """Raise QuotaFull before a transfer that would be refused after it.

        A file that the owner may have already is let through: it would count once.
        """
        limit = await quota_of(self.log, owner)
        used = await self.used_bytes(owner) if limit else 0
        if limit and used + wanted_bytes > limit:
            asked = ("ZRANGE", self.keys_of_owner(owner).owned(owner), 0, LOOKED_AT - 1, "REV")
            newest = cast("list[bytes]", await command(self.log.redis, *asked))
            found = await self.get_many([one.decode(errors="replace") for one in newest])
            if not any((one.name, one.size_bytes) == (name, wanted_bytes) for one in found):
                raise QuotaFull(owner, used, limit, wanted_bytes)

    async def used_bytes(self, owner: str) -> int:
        """Return how many bytes the assets of an owner have."""
        found = await command(self.log.redis, "HGET", self.keys_of_owner(owner).owners(), owner)
        return int(found) if isinstance(found, bytes) and found.isdigit() else 0

    async def get(self, asset: str) -> Asset:
        """Return what is known of an asset. Raises AssetUnknown, InvalidName."""
        found = check_asset_id(asset)
        keys = self.keys_of(found)
        record = await command(self.log.redis, "HGET", keys.records(), found)
        expires = await command(self.log.redis, "ZSCORE", keys.expiry(), found)
        return _read(found, record, expires)

    async def get_many(self, assets: list[str]) -> list[Asset]:
        """Return what is known of several assets, those left out of which nothing is."""
        assets = [asset for asset in assets if is_asset_id(asset)]
        asked = [(self.keys_of(asset), asset) for asset in assets]
        records = await commands(
            self.log.redis, [("HGET", keys.records(), asset) for keys, asset in asked]
        )
        expiries = await commands(
            self.log.redis, [("ZSCORE", keys.expiry(), asset) for keys, asset in asked]
        )
        found = list[Asset]()
        for asset, record, expires in zip(assets, records, expiries, strict=True):
            with contextlib.suppress(AssetUnknown):
                found.append(_read(asset, record, expires))
        return found

    async def keep(self, asset: str, least_s: float | None) -> Asset:
        """Keep an asset for `least_s` seconds from now at least, None for ever; return it.

        Raises AssetUnknown, InvalidName.
        """
        found = check_asset_id(asset)
        check_number("keep_s", least_s)
        keys = self.keys_of(found)
        record = await asset_scripts.extend_asset(self.log.redis, keys, found, _kept_ms(least_s))
        expires = await command(self.log.redis, "ZSCORE", keys.expiry(), found)
        return _read(found, record, expires)

    def open(
        self, content_hash: str, start: int = 0, end: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream bytes from `start` up to, without, `end`. Raises AssetGone."""
        return self.blobs.read(content_hash, start, end)

    async def remove(self, asset: str) -> bool:
        """Forget an asset; False where there is none. Its bytes go with the next sweep."""
        try:
            found = await self.get(asset)
        except AssetUnknown:
            return False
        return await self.remove_if(found, "any")

    async def remove_if(self, asset: Asset, only: Only) -> bool:
        """Forget an asset if it is as `only` says; say whether it was."""
        return await asset_scripts.remove_asset(
            self.log.redis,
            self.keys_of(asset.id),
            asset=asset.id,
            content_hash=asset.hash,
            size_bytes=asset.size_bytes,
            owner=asset.owner,
            only=only,
        )


def _kept_ms(keep_s: float | None) -> int:
    return 0 if keep_s is None else max(1, int(keep_s * 1000))


def whole_ms(score: bytes) -> int:
    """Return a time that a sorted set has, in ms; another program may have written infinity."""
    return int(min(max(float(score), 0.0), LAST_DATE_MS))


def _read(asset: str, record: object, expires: object) -> Asset:
    """Return a record with its expiry. Raises AssetUnknown where there is none that can be read."""
    if not isinstance(record, bytes):
        raise AssetUnknown(asset)
    try:
        found = read_asset(record)
    except NotJson:
        raise AssetUnknown(asset) from None
    expires_ms = whole_ms(cast("bytes", expires)) if expires is not None else 0
    return msgspec.structs.replace(found, expires_ms=expires_ms)
