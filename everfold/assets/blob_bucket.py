"""Stored bytes in an S3-compatible bucket, through obstore; AWS_ variables configure it.

Rule: every call blocks in a thread, for a bounded time, since obstore's own event loop outlives the
interpreter. A bucket shows an object only when all of it is there; what is on its way waits in a
file without a name until its hash is known.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import anyio
import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from everfold.buckets.access import check_bucket, check_credentials, told
from everfold.embedded.data_folder import default_data_folder
from everfold.streams.assets import disk_errors
from everfold.streams.assets.asset import HASH_PREFIX, check_hash
from everfold.streams.assets.blob_store import BLOB_LIMIT_BYTES, CHUNK_BYTES, Blob, FoundBlob
from everfold.streams.assets.hashing_file import HashingFile, check_blob, fill
from everfold.streams.errors import AssetGone, AssetsUnavailable, Misconfigured
from everfold.streams.private_folder import make_folders

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig

PART_BYTES = 5 * 2**20
"""What one request writes; S3 takes no smaller parts."""

PARTS_LIMIT = 10_000
"""Of an upload, by S3."""

READ_BYTES = 4 * 2**20
"""What one request reads."""

FRESH_S = 1200.0
"""Bytes that were written so short a time ago are not sent again. A sweeper waits much longer."""

REQUEST_S = 60.0
"""The longest time of one request, as long as AWS_TIMEOUT sets no other."""

RETRIES: RetryConfig = {"max_retries": 3}

CLIENT_SETTINGS = (
    *("allow_http", "allow_invalid_certificates", "connect_timeout", "timeout", "read_timeout"),
    *("proxy_url", "proxy_ca_certificate", "proxy_excludes", "user_agent", "http1_only"),
)
"""Set by variables such as AWS_ALLOW_HTTP, which obstore reads only without settings of ours."""

PAGE = 1000

CLOCK = "parts/clock"
"""An object whose age is the store's time."""

_BLOB = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class BlobBucket:
    """A BlobStore at `s3://bucket/prefix`.

    Raises Misconfigured for an address of another form, for settings that are wrong, and without a
    variable that names credentials. An upload that is killed leaves parts that nobody can read; a
    rule of the bucket for incomplete uploads removes them.
    """

    def __init__(self, url: str, *, request_s: float = REQUEST_S) -> None:
        check_bucket(url)
        check_credentials(url)
        self._url = url.rstrip("/")
        try:
            self._store = from_url(
                self._url, client_options=_client_options(request_s), retry_config=RETRIES
            )
        except (BaseError, ValueError) as error:
            raise Misconfigured(f"{self._url} is not opened: {told(error)}") from None

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return self._url

    async def put(
        self,
        source: AsyncIterator[bytes],
        *,
        expected_hash: str = "",
        expected_bytes: int | None = None,
        most_bytes: int = BLOB_LIMIT_BYTES,
    ) -> Blob:
        """Store bytes as the BlobStore says.

        They wait in TMPDIR, else in the data folder, until their hash is known. They are not sent
        again when they were stored within the last FRESH_S.
        """
        folder = os.environ.get("TMPDIR") or str(default_data_folder(os.environ))
        file = HashingFile(partial(_new_file, folder))

        async def write(piece: memoryview) -> None:
            try:
                await anyio.to_thread.run_sync(file.write, piece)
            except OSError as error:
                where = f"what is sent there waits in {folder}: {disk_errors.told(error)}"
                raise AssetsUnavailable(self.url, where) from error

        try:
            await fill(write, source, expected_bytes, most_bytes)
            blob = file.blob
            check_blob(blob, expected_hash, expected_bytes)
            await self._run(file.finish, partial(self._store_file, blob, file))
            return blob
        finally:
            file.stop()

    async def find(self, content_hash: str) -> FoundBlob | None:
        """Return what is known of stored bytes, None for none. Raises InvalidName for no hash."""
        found = await self._run(self._head, _name(content_hash))
        return _found_blob(content_hash, found) if found else None

    async def now_ms(self) -> int:
        """Return the store's time, in whole seconds as all its times: writes a small object."""
        return await self._run(self._now_ms)

    @asynccontextmanager
    async def read(
        self, content_hash: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream bytes as the BlobStore says; what is beyond their end is left out."""
        found = await self.find(content_hash)
        if found is None:
            raise AssetGone(content_hash, self.url)
        least, most = max(start, 0), found.size_bytes
        yield self._pieces(content_hash, least, most if end is None else min(end, most))

    async def delete(self, content_hash: str) -> bool:
        """Remove the bytes; False where there were none. Who reads them meanwhile fails."""
        return await self._run(self._delete, _name(content_hash))

    async def walk(self) -> AsyncIterator[FoundBlob]:
        """Yield all that is stored; a page of PAGE is in memory at a time."""
        pages = obstore.list(self._store, "blobs", chunk_size=PAGE)
        while page := await self._run(_next_page, iter(pages)):
            for found in page:
                if name := _BLOB.fullmatch(found["path"]):
                    yield _found_blob(f"{HASH_PREFIX}{name[2]}", found)

    async def sweep_parts(self, older_than_s: float) -> int:
        """Return 0: S3 keeps incomplete uploads apart, and removes them by a rule of the bucket."""
        return 0

    async def _run(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Call in a thread that a cancelled task leaves alone: its requests end by themselves."""
        try:
            return await anyio.to_thread.run_sync(call, *arguments, abandon_on_cancel=True)
        except (BaseError, OSError, ValueError) as error:
            raise AssetsUnavailable(self.url, told(error)) from None  # it shows addresses whole

    async def _pieces(self, content_hash: str, start: int, end: int) -> AsyncIterator[bytes]:
        for at in range(start, end, READ_BYTES):
            most = min(at + READ_BYTES, end)
            found = memoryview(await self._run(self._range, content_hash, at, most))
            for i in range(0, len(found), CHUNK_BYTES):
                yield bytes(found[i : i + CHUNK_BYTES])

    def _range(self, content_hash: str, start: int, end: int) -> obstore.Bytes:
        try:
            found = obstore.get_range(self._store, _name(content_hash), start=start, end=end)
        except FileNotFoundError as error:
            raise AssetGone(content_hash, self.url) from error
        if len(found) != end - start:
            raise OSError(f"{len(found):,} bytes came where {end - start:,} were asked for")
        return found

    def _head(self, name: str) -> ObjectMeta | None:
        with suppress(FileNotFoundError):
            return obstore.head(self._store, name)
        return None

    def _now_ms(self) -> int:
        obstore.put(self._store, CLOCK, b"")
        return _written_ms(obstore.head(self._store, CLOCK))

    def _delete(self, name: str) -> bool:
        was_there = self._head(name) is not None
        if was_there:
            obstore.delete(self._store, name)
        return was_there

    def _store_file(self, blob: Blob, holder: HashingFile, file: FileIO) -> None:
        """Send the file unless the bytes are there and fresh, and look at what is there then."""
        name = _name(blob.hash)
        before = self._head(name)
        if before and before["size"] == blob.size_bytes and _age_s(before) < FRESH_S:
            return
        try:
            self._send(name, blob.size_bytes, _outgoing(holder, file))
        except (BaseError, OSError):
            # The reply alone may have been lost.
            with suppress(BaseError):
                after = self._head(name)
                if after and after != before and after["size"] == blob.size_bytes:
                    return
            raise
        found = self._head(name)
        if found is None or found["size"] != blob.size_bytes:
            obstore.delete(self._store, name)
            size = found["size"] if found else 0
            raise OSError(f"{blob.size_bytes:,} bytes were sent and {size:,} arrived")

    def _send(self, name: str, size_bytes: int, pieces: Iterator[bytes]) -> None:
        if size_bytes <= PART_BYTES:
            obstore.put(self._store, name, b"".join(pieces), use_multipart=False)
            return
        obstore.put(
            self._store,
            name,
            pieces,
            use_multipart=True,
            chunk_size=max(PART_BYTES, -(-size_bytes // PARTS_LIMIT)),
            max_concurrency=1,
        )


def _outgoing(holder: HashingFile, file: FileIO) -> Iterator[bytes]:
    """Read a file from its beginning. Raises OSError when nobody waits for that any more."""
    file.seek(0)
    while piece := file.read(CHUNK_BYTES):
        if holder.is_stopped:
            raise OSError("the transfer was given up")
        yield piece


def _client_options(request_s: float) -> ClientConfig:
    options: dict[str, str] = {"connect_timeout": "5s", "timeout": f"{request_s * 1000:.0f}ms"}
    for name in CLIENT_SETTINGS:
        if value := os.environ.get(f"AWS_{name.upper()}"):
            options[name] = value
    return options  # type: ignore[return-value]  # obstore reads texts for all of them


def _new_file(folder: str) -> FileIO:
    """Make a file that is gone when it is closed, or when this process dies."""
    make_folders(Path(folder))
    return tempfile.TemporaryFile(dir=folder, buffering=0)


def _next_page(pages: obstore.ListStream[Sequence[ObjectMeta]]) -> Sequence[ObjectMeta]:
    return next(pages, ())


def _name(content_hash: str) -> str:
    digits = check_hash(content_hash).removeprefix(HASH_PREFIX)
    return f"blobs/{digits[:2]}/{digits}"


def _found_blob(content_hash: str, found: ObjectMeta) -> FoundBlob:
    return FoundBlob(content_hash, found["size"], _written_ms(found))


def _written_ms(found: ObjectMeta) -> int:
    return int(found["last_modified"].timestamp() * 1000)


def _age_s(found: ObjectMeta) -> float:
    return time.time() - found["last_modified"].timestamp()
