"""Writes stored bytes into files of this machine: whole and right, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import anyio.to_thread
from blake3 import blake3

from everfold.streams.assets.asset import HASH_PREFIX
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_store import CHUNK_BYTES
from everfold.streams.errors import AssetDamaged, Misconfigured
from everfold.streams.private_folder import NO_LINKS


async def checked_bytes(store: AssetStore, content_hash: str) -> AsyncGenerator[bytes, None]:
    """Yield stored bytes; after the last of them raise AssetDamaged where they were others.

    Raises AssetGone, AssetsUnavailable.
    """
    digest = blake3()
    async with store.open(content_hash) as chunks:
        async for chunk in chunks:
            digest.update(chunk)
            yield chunk
    found = HASH_PREFIX + digest.hexdigest()
    if found != content_hash:
        raise AssetDamaged(content_hash, found)


async def is_saved(path: Path, content_hash: str) -> bool:
    """Say whether a file is there and has these bytes."""
    try:
        return await anyio.to_thread.run_sync(_hash_of, path) == content_hash
    except OSError:
        return False


def _hash_of(path: Path) -> str:
    """Return a file's hash, empty for what is no file."""
    if not path.is_file():
        return ""
    digest = blake3()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return HASH_PREFIX + digest.hexdigest()


async def save_asset(
    store: AssetStore, content_hash: str, path: Path, *, overwrite: bool = True
) -> bool:
    """Write stored bytes into a file, under another name first; False where a file is in the way.

    Without `overwrite` a file that is there stays as it is. Raises AssetGone, AssetDamaged,
    AssetsUnavailable, and Misconfigured where the file cannot be written: then `path` is as it was.
    """
    if overwrite and await anyio.to_thread.run_sync(_is_no_file, path):
        raise Misconfigured(f"{path} cannot be written: it is no file")
    part = path.with_name(f".everfold-{secrets.token_hex(8)}.part")
    try:
        # Not followed and made anew, so that nobody has put a link there.
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                async with contextlib.aclosing(checked_bytes(store, content_hash)) as chunks:
                    async for chunk in chunks:
                        await anyio.to_thread.run_sync(file.write, chunk)
                file.flush()
                await anyio.to_thread.run_sync(os.fsync, file.fileno())
            return _name(part, path, overwrite=overwrite)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror or error}") from error


def _is_no_file(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _name(part: Path, path: Path, *, overwrite: bool) -> bool:
    if overwrite:
        part.replace(path)
        return True
    try:
        os.link(part, path, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _take_name(part, path)
    return True


def _take_name(part: Path, path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    except FileExistsError:
        return False
    part.replace(path)
    return True
