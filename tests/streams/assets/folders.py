"""Looks at a folder of blobs from outside."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from everfold.streams.assets.blob_store import BlobStore
from tests.support.sources import hash_of


def file_of(root: Path, content_hash: str) -> Path:
    digits = content_hash.removeprefix("blake3:")
    return root / "blobs" / digits[:2] / digits


def parts(root: Path) -> list[str]:
    return os.listdir(root / "parts")


def tree(path: Path) -> list[Path]:
    return sorted(path.rglob("*"))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def assert_whole(root: Path) -> set[str]:
    """Return the hashes of all that is readable, once each is that of its bytes."""
    found = {f"blake3:{path.name}": path for path in root.glob("blobs/??/*")}
    for name, path in found.items():
        assert hash_of(path.read_bytes()) == name
    return set(found)


def open_files() -> int:
    """Return how many files this process has open; sockets and folders do not count."""
    handles = os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    return sum(map(_is_file, handles))


def _is_file(handle: str) -> bool:
    try:
        return stat.S_ISREG(os.fstat(int(handle)).st_mode)
    except OSError:  # that by which the list was read
        return False


async def content_of(store: BlobStore, content_hash: str) -> bytes:
    async with store.read(content_hash) as pieces:
        return b"".join([piece async for piece in pieces])
