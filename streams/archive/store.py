"""What an archive needs of the place where it lies: a folder, or an S3-compatible store.

Rule: a file is written whole or not at all, and one that is there is never changed: `create`
refuses, which is how two archivers agree.
"""

from __future__ import annotations

from typing import Protocol


class Store(Protocol):
    @property
    def url(self) -> str: ...

    async def create(self, name: str, content: bytes) -> bool:
        """Write a new file durably; False, with nothing written, when there is one."""
        ...

    async def read(self, name: str) -> bytes | None:
        """Return the file, None when there is none."""
        ...
