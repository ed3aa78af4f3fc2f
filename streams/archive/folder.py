"""Where an archive lies: what it needs of a store, and the store that is a local folder.

Rule: a file is written whole or not at all, and a file that exists is never changed: `create`
refuses, which is how two archivers at once agree.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar, TypeVarTuple

import anyio

from everfold.streams.errors import ArchiveUnavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Store(Protocol):
    """A place for files that never change: a folder, or an S3-compatible bucket.

    Each call raises ArchiveUnavailable when the place cannot be read or written now.
    """

    @property
    def url(self) -> str:
        """Where it is, as people write it."""
        ...

    async def create(self, name: str, content: bytes) -> bool:
        """Write a new file durably; False, with nothing written, when there is one.

        `name` is a relative path with slashes. After an error the file is there whole, or not.
        """
        ...

    async def read(self, name: str) -> bytes | None:
        """Return the file, None when there is none."""
        ...


class Folder:
    """A store in a local folder: every write has reached the disk when it returns.

    The folder is made with the first file. `~` is expanded, a relative path made absolute.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser().absolute()

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self._path)

    async def create(self, name: str, content: bytes) -> bool:
        """Write a new file as the Store says. Raises ArchiveUnavailable."""
        return await self._run(self._create, name, content)

    async def read(self, name: str) -> bytes | None:
        """Return a file, None when there is none. Raises ArchiveUnavailable."""
        return await self._run(self._read, name)

    async def _run(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        try:
            return await anyio.to_thread.run_sync(call, *arguments)
        except OSError as error:
            raise ArchiveUnavailable(self.url, str(error)) from error

    def _create(self, name: str, content: bytes) -> bool:
        temporary = self._write(name, content)
        try:
            # A link to a name that exists is refused; a rename would replace the file.
            os.link(temporary, self._path / name)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        _sync_folder((self._path / name).parent)
        return True

    def _write(self, name: str, content: bytes) -> Path:
        path = self._path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return temporary

    def _read(self, name: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return (self._path / name).read_bytes()
        return None


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
