"""What is needed of a place for bytes: a folder, or an S3-compatible bucket.

Rule: bytes are named by their hash, written under another name first, and never changed. Nothing
half is ever readable under a hash, whatever dies when.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

CHUNK_BYTES = 2**20
"""How much is read and written at once. A transfer keeps at most 8 MiB in memory."""

BEGINNING_BYTES = 64 * 1024
"""How much of new bytes is kept to look at what they are."""

BLOB_LIMIT_BYTES = 64 * 2**30


class Blob(Struct, frozen=True):
    """Bytes that were stored just now."""

    hash: str
    size_bytes: int
    beginning: bytes
    """The first BEGINNING_BYTES of them."""


class FoundBlob(Struct, frozen=True):
    """Stored bytes, as a walk through the store finds them."""

    hash: str
    size_bytes: int
    written_ms: int
    """When they were last stored, by the store's own clock, Unix ms."""


class BlobStore(Protocol):
    """A place for bytes. Several processes may use it at the same time.

    Each call raises AssetsUnavailable when the place cannot be read or written now, a full disk
    included, and Misconfigured for one that is not to be used.
    """

    @property
    def url(self) -> str:
        """Where it is, as people write it, without any secret."""
        ...

    async def put(
        self,
        source: AsyncIterator[bytes],
        *,
        expected_hash: str = "",
        expected_bytes: int | None = None,
        most_bytes: int = BLOB_LIMIT_BYTES,
    ) -> Blob:
        """Store all that `source` yields, in bounded memory, and return its hash.

        What is stored already is written anew in time: `written_ms` is now, or, where writing
        costs a transfer, at most 20 minutes ago. Nothing is stored after
        an error of `source`, which is raised as it is; HashMismatch where the bytes have another
        hash or another number than expected; TooLarge beyond `most_bytes`.
        """
        ...

    def read(
        self, content_hash: str, start: int = 0, end: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream the bytes from `start` up to, without, `end` (None: to their end).

        Raises AssetGone where the store has no such bytes.
        """
        ...

    async def delete(self, content_hash: str) -> bool:
        """Remove the bytes; False where there were none."""
        ...

    async def find(self, content_hash: str) -> FoundBlob | None:
        """Return what is known of stored bytes, None where there are none."""
        ...

    async def now_ms(self) -> int:
        """Return the store's own time, as in `written_ms`, Unix ms."""
        ...

    def walk(self) -> AsyncIterator[FoundBlob]:
        """Yield all that is stored, in no order; what comes and goes meanwhile may be missing."""
        ...

    async def sweep_parts(self, older_than_s: float) -> int:
        """Remove what writers that died have left half written; return how many that were."""
        ...
