"""Stored bytes in a local folder: `blobs/<two digits>/<hash>`, and `parts/` for what is written.

Rule: a file is under its hash only when all of it has reached the disk. A part is locked as long as
its writer lives, so that only the parts of writers that died are swept.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import anyio.lowlevel

from everfold.streams.assets.asset import HASH_PREFIX, check_hash
from everfold.streams.assets.blob_store import (
    BLOB_LIMIT_BYTES,
    Blob,
    FoundBlob,
)
from everfold.streams.assets.disk_errors import told
from everfold.streams.assets.hashing_file import HashingFile, check_blob, fill
from everfold.streams.assets.stored_file import StoredFile
from everfold.streams.closing import in_thread
from everfold.streams.errors import AssetGone, AssetsUnavailable
from everfold.streams.private_folder import (
    expanded,
    is_own_file,
    make_folders,
    new_file,
    open_file,
    opened_folder,
    sync_folder,
)

WHOSE = "the assets'"
BLOBS, PARTS = "blobs", "parts"

_PLACE = re.compile(r"[0-9a-f]{2}")
_DIGITS = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[0-9a-f]{32}\.part")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class BlobFolder:
    """A BlobStore in a local folder, which is made with the first bytes.

    `~` is expanded, a relative path made absolute. Folders have mode 0700 and files 0600 when they
    are made. Each call raises Misconfigured for a folder that is a symbolic link, or that another
    user owns or may write to; what else lies in the folders is ignored.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = expanded(path).absolute()

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self._path)

    async def put(
        self,
        source: AsyncIterator[bytes],
        *,
        expected_hash: str = "",
        expected_bytes: int | None = None,
        most_bytes: int = BLOB_LIMIT_BYTES,
    ) -> Blob:
        """Store bytes as the BlobStore says. Those that were stored before are replaced."""
        name = f"{secrets.token_hex(16)}.part"
        file = HashingFile(partial(self._new_part, name))

        async def write(piece: memoryview) -> None:
            await self._run(file.write, piece)

        try:
            await fill(write, source, expected_bytes, most_bytes)
            blob = file.blob
            check_blob(blob, expected_hash, expected_bytes)
            await self._run(file.finish, partial(self._publish, name, blob))
            return blob
        finally:
            await in_thread(self._discard, name, file)

    @asynccontextmanager
    async def read(
        self, content_hash: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream bytes as the BlobStore says; what is beyond their end is left out."""
        file = StoredFile(partial(self._open_blob, content_hash), start, end)
        try:
            await self._run(file.open)
            yield self._pieces(file)
        finally:
            await in_thread(file.close)

    async def delete(self, content_hash: str) -> bool:
        """Remove the bytes for good; False where there were none. Who reads them reads on."""
        return await self._run(self._delete, _digits(content_hash))

    async def find(self, content_hash: str) -> FoundBlob | None:
        """Return what is known of stored bytes, None for none. Raises InvalidName for no hash."""
        return await self._run(self._find, _digits(content_hash))

    async def now_ms(self) -> int:
        """Return the time that a file gets now: a network disk has its own, Unix ms."""
        return await self._run(self._now_ms)

    async def walk(self) -> AsyncIterator[FoundBlob]:
        """Yield all that is stored; one of the 256 folders is in memory at a time."""
        for place in await self._run(self._places):
            for found in await self._run(self._scan, place):
                yield found

    async def sweep_parts(self, older_than_s: float) -> int:
        """Remove parts whose writer died and that nobody has written to for so long."""
        return await self._run(self._sweep, older_than_s)

    async def _run(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        await anyio.lowlevel.checkpoint_if_cancelled()
        try:
            return await in_thread(call, *arguments)
        except OSError as error:
            raise AssetsUnavailable(self.url, told(error)) from error

    async def _pieces(self, file: StoredFile) -> AsyncIterator[bytes]:
        while piece := await self._run(file.next):
            yield piece

    @contextlib.contextmanager
    def _opened(self, *inner: str, make: bool = False) -> Iterator[int]:
        if make:
            make_folders(self._path)
        with contextlib.ExitStack() as open_ones:
            handle = open_ones.enter_context(opened_folder(self._path, WHOSE))
            for name in inner:
                step = opened_folder(name, WHOSE, within=handle, make=make)
                handle = open_ones.enter_context(step)
            yield handle

    def _new_part(self, name: str) -> FileIO:
        with self._opened(PARTS, make=True) as parts:
            while True:
                file = FileIO(new_file(name, parts), "wb")
                _lock(file.fileno(), wait=True)
                # A sweep for parts of any age can take it before it is locked.
                if os.fstat(file.fileno()).st_nlink:
                    return file
                file.close()

    def _publish(self, name: str, blob: Blob, file: FileIO) -> None:
        digits = _digits(blob.hash)
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        if size != blob.size_bytes:
            raise OSError(f"{blob.size_bytes:,} bytes were written and {size:,} are there")
        with (
            self._opened(PARTS) as parts,
            self._opened(BLOBS, digits[:2], make=True) as place,
        ):
            os.utime(file.fileno())
            os.rename(name, digits, src_dir_fd=parts, dst_dir_fd=place)
            sync_folder(place)

    def _discard(self, name: str, file: HashingFile) -> None:
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError), self._opened(PARTS) as parts:
            os.unlink(name, dir_fd=parts)

    def _find(self, digits: str) -> FoundBlob | None:
        with contextlib.suppress(FileNotFoundError), self._opened(BLOBS, digits[:2]) as place:
            found = os.stat(digits, dir_fd=place, follow_symlinks=False)
            return _found_blob(digits, found) if is_own_file(found) else None
        return None

    def _now_ms(self) -> int:
        name = f"{secrets.token_hex(16)}.part"
        with contextlib.suppress(FileNotFoundError), self._opened(PARTS) as parts:
            handle = new_file(name, parts)
            try:
                os.utime(handle)
                return _written_ms(os.fstat(handle))
            finally:
                os.close(handle)
                os.unlink(name, dir_fd=parts)
        return int(time.time() * 1000)

    def _open_blob(self, content_hash: str) -> FileIO:
        digits = _digits(content_hash)
        try:
            with self._opened(BLOBS, digits[:2]) as place:
                handle = open_file(digits, place)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                raise
            raise AssetGone(content_hash, self.url) from error
        if not is_own_file(os.fstat(handle)):
            os.close(handle)
            raise AssetGone(content_hash, self.url)
        return FileIO(handle, "rb")

    def _delete(self, digits: str) -> bool:
        with contextlib.suppress(FileNotFoundError), self._opened(BLOBS, digits[:2]) as place:
            os.unlink(digits, dir_fd=place)
            sync_folder(place)
            return True
        return False

    def _places(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError), self._opened(BLOBS) as blobs:
            return [name for name in os.listdir(blobs) if _PLACE.fullmatch(name)]
        return []

    def _scan(self, place: str) -> list[FoundBlob]:
        with contextlib.suppress(FileNotFoundError), self._opened(BLOBS, place) as folder:
            return [
                _found_blob(name, found)
                for name, found in _own_files(folder, _DIGITS)
                if name.startswith(place)
            ]
        return []

    def _sweep(self, older_than_s: float) -> int:
        count = 0
        with contextlib.suppress(FileNotFoundError), self._opened(PARTS) as parts:
            for name, found in _own_files(parts, _PART):
                if time.time() - found.st_mtime >= older_than_s:
                    count += _remove_unlocked(name, parts)
        return count


def _digits(content_hash: str) -> str:
    return check_hash(content_hash).removeprefix(HASH_PREFIX)


def _found_blob(digits: str, found: os.stat_result) -> FoundBlob:
    return FoundBlob(f"{HASH_PREFIX}{digits}", found.st_size, _written_ms(found))


def _written_ms(found: os.stat_result) -> int:
    return found.st_mtime_ns // 1_000_000


def _own_files(folder: int, pattern: re.Pattern[str]) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    if is_own_file(found):
                        yield entry.name, found


def _lock(handle: int, *, wait: bool = False) -> bool:
    """Lock a file until its last handle is closed; False when a living process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        # Some network disks have no locks: there the age alone says that a part's writer died.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            raise
    return True


def _remove_unlocked(name: str, folder: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        handle = open_file(name, folder)
        try:
            if _lock(handle):
                os.unlink(name, dir_fd=folder)
                return True
        finally:
            os.close(handle)
    return False
