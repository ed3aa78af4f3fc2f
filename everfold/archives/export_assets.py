"""The stored files that an export takes along: a folder beside the export file, FILE.assets.

Rule: it has the bytes under their hashes, and `assets.jsonl` with a record a line. It is data from
outside when it is read: each file is compared with its hash, and what it is is looked at anew.
Whatever is there already is not copied again, so that both ways go on after an interruption.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from everfold.projector.reading.named_assets import asset_ids
from everfold.streams.archive.segment import bounded_lines
from everfold.streams.assets.asset import Asset, check_asset_id
from everfold.streams.assets.asset_store import AssetStore, read_asset
from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.errors import (
    ArchiveDamaged,
    AssetGone,
    AssetUnknown,
    HashMismatch,
    InvalidName,
    Misconfigured,
)
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import OutputSaved, Submitted
from everfold.streams.events.json_text import NotJson
from everfold.streams.events.record import Recorded

RECORDS = "assets.jsonl"


class Taken(Struct, kw_only=True):
    """What was taken along."""

    assets: int = 0
    size_bytes: int = 0
    missing: int = 0
    """Those that jobs name and that are no longer kept."""


def folder_of_export(file: Path) -> Path:
    """Return the folder of an export file's assets."""
    return file.with_name(f"{file.name}.assets")


def named_by(record: Recorded) -> Iterator[str]:
    """Yield the ids of the assets that an event names: inputs, outputs and their thumbnails."""
    event, found = record.event, list[str]()
    if isinstance(event, Unreadable):
        return
    if isinstance(event, Submitted) and event.inputs:
        found += [one.asset for one in event.inputs.values()]
    if isinstance(event, OutputSaved):
        found += asset_ids({event.node: event.output})
    found += asset_ids(getattr(event, "outputs", {}))
    for asset in found:
        with suppress(InvalidName):
            yield check_asset_id(asset)


async def export_assets(store: AssetStore, assets: Iterable[str], file: Path) -> Taken:
    """Copy assets into the folder of an export file, which is made. Raises Misconfigured."""
    folder = folder_of_export(file)
    blobs, taken = BlobFolder(folder), Taken()
    lines = list[bytes]()
    for one in assets:
        try:
            asset = await store.get(one)
            if await blobs.find(asset.hash) is None:
                async with store.open(asset.hash) as chunks:
                    await blobs.put(chunks, expected_hash=asset.hash)
        except (AssetUnknown, AssetGone, HashMismatch):
            taken.missing += 1
            continue
        lines.append(msgspec.json.encode(asset) + b"\n")
        taken.assets, taken.size_bytes = taken.assets + 1, taken.size_bytes + asset.size_bytes
    try:
        _write_records(folder, lines)
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be written: {error.strerror or error}") from error
    return taken


def _write_records(folder: Path, lines: list[bytes]) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    part = folder / f".{RECORDS}.part"
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / RECORDS)


async def import_assets(store: AssetStore, file: Path) -> Taken:
    """Store the assets beside an export file under the ids that they had.

    Raises ArchiveDamaged for records or bytes that are not as they were written, a leaf of
    Unavailable; then it may be repeated.
    """
    folder = folder_of_export(file)
    blobs, taken = BlobFolder(folder), Taken()
    for asset in _records(folder):
        await _restore(store, blobs, asset)
        taken.assets, taken.size_bytes = taken.assets + 1, taken.size_bytes + asset.size_bytes
    return taken


async def _is_there(store: AssetStore, asset: Asset) -> bool:
    with suppress(AssetUnknown):
        known = await store.get(asset.id)
        return known.hash == asset.hash and await store.blobs.find(asset.hash) is not None
    return False


async def _restore(store: AssetStore, blobs: BlobFolder, asset: Asset) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        async with blobs.read(asset.hash) as stored:
            async for chunk in stored:
                yield chunk

    try:
        if not await _is_there(store, asset):
            async with aclosing(chunks()) as source:
                await store.restore(asset, source)
    except (AssetGone, HashMismatch, InvalidName) as error:
        raise ArchiveDamaged(f"{blobs.url}/{RECORDS}", str(error)) from error


def _records(folder: Path) -> Iterator[Asset]:
    path = folder / RECORDS
    try:
        with path.open("rb") as lines:
            for line in bounded_lines(lines, path.name):
                yield _record(path, line)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror or error}") from error


def _record(path: Path, line: bytes) -> Asset:
    try:
        return read_asset(line)
    except NotJson as error:
        raise ArchiveDamaged(str(path), str(error)) from error
