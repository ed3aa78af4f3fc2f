"""Where an archive lies: what it needs of a store, and the store that is a local folder.

Rule: a file is written whole or not at all, and a file that exists is never changed: `create`
refuses, which is how two archivers at once agree. Nobody else can put a file into the folder, or
make one of its names lead elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar, TypeVarTuple

import anyio

from everfold.streams.errors import ArchiveDamaged, ArchiveUnavailable, Misconfigured
from everfold.streams.private_folder import (
    NO_LINKS,
    expanded,
    is_own,
    make_folders,
    new_file,
    open_file,
    opened_folder,
    sync_folder,
)

WHOSE = "the archive's"

NO_LINKS_ADVICE = "its disk has no hard links: name a folder on another disk, or a bucket"

FILE_LIMIT_BYTES = 2**30
"""Of a stored file, as it is compressed; several times what any archiver writes."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Store(Protocol):
    """A place for files that never change: a folder, or an S3-compatible bucket.

    Each call raises ArchiveUnavailable when the place cannot be read or written now, and
    ArchiveDamaged for a file of more than FILE_LIMIT_BYTES.
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

    async def create_all(self, files: Mapping[str, bytes]) -> None:
        """Do as `create` for each file; those that are there stay as they are.

        After an error any of them may be there.
        """
        ...

    async def read(self, name: str) -> bytes | None:
        """Return the file, None when there is none."""
        ...

    async def read_all(self, names: Sequence[str], most_bytes: int) -> list[bytes | None]:
        """Do as `read` for each file; one of more than `most_bytes` is ArchiveDamaged."""
        ...


class Folder:
    """A store in a local folder: every write has reached the disk when it returns.

    The folder is made with the first file. `~` is expanded, a relative path made absolute. Folders
    have mode 0700 and files 0600 when they are made. Each call raises Misconfigured for a folder
    that is a symbolic link, or that another user owns or may write to, and ArchiveDamaged for a
    file that is a link, no regular file, another user's or larger than FILE_LIMIT_BYTES. Writes
    raise Misconfigured where the disk has no hard links.
    """

    def __init__(self, path: str) -> None:
        self._path = expanded(path).absolute()

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self._path)

    async def create(self, name: str, content: bytes) -> bool:
        """Write a new file as the Store says. Raises ArchiveUnavailable."""
        return name in await self._run(self._create, {name: content})

    async def create_all(self, files: Mapping[str, bytes]) -> None:
        """Write new files as the Store says. Raises ArchiveUnavailable."""
        await self._run(self._create, files)

    async def read(self, name: str) -> bytes | None:
        """Return a file, None when there is none. Raises ArchiveUnavailable."""
        return await self._run(self._read, name)

    async def read_all(self, names: Sequence[str], most_bytes: int) -> list[bytes | None]:
        """Return files as the Store says. Raises ArchiveUnavailable."""
        return await self._run(lambda: [self._read(name, most_bytes) for name in names])

    async def _run(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        try:
            return await anyio.to_thread.run_sync(call, *arguments)
        except OSError as error:
            raise ArchiveUnavailable(self.url, str(error)) from error

    def _create(self, files: Mapping[str, bytes]) -> list[str]:
        """Write those that are not there, and return their names."""
        make_folders(self._path)
        folders: dict[str, dict[str, bytes]] = {}
        for name, content in files.items():
            folders.setdefault(name.rpartition("/")[0], {})[name] = content
        made = list[str]()
        for inner, contents in folders.items():
            with self._opened(inner, make=True) as place:
                made += [name for name in contents if self._make(name, contents[name], place)]
                sync_folder(place)
        return made

    def _make(self, name: str, content: bytes, place: int) -> bool:
        """Write a file into an open folder; return False where there is one of this name."""
        temporary = f".{secrets.token_hex(16)}.part"
        handle = new_file(temporary, place)
        try:
            _write(handle, content)
            # A link to a name that exists is refused; a rename would replace the file.
            file = name.rpartition("/")[2]
            os.link(temporary, file, src_dir_fd=place, dst_dir_fd=place, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            why = f"{WHOSE} folder {self._path} is not used: {NO_LINKS_ADVICE}"
            raise Misconfigured(why) from error
        finally:
            # Of a full disk, too: what is left there would keep it full.
            os.unlink(temporary, dir_fd=place)
        return True

    def _read(self, name: str, most_bytes: int = FILE_LIMIT_BYTES) -> bytes | None:
        inner, _, file = name.rpartition("/")
        try:
            with self._opened(inner) as place, open(open_file(file, place), "rb") as found:
                _check_file(os.fstat(found.fileno()), name, most_bytes)
                return found.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise ArchiveDamaged(name, "it is a symbolic link") from error

    @contextlib.contextmanager
    def _opened(self, inner: str, *, make: bool = False) -> Iterator[int]:
        """Yield a handle of a folder inside the archive's. Raises Misconfigured, OSError."""
        with opened_folder(self._path, WHOSE) as folder:
            if not inner:
                yield folder
                return
            with opened_folder(inner, WHOSE, within=folder, make=make) as place:
                yield place


def _check_file(found: os.stat_result, name: str, most_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ArchiveDamaged(name, "it is no regular file")
    if not is_own(found):
        raise ArchiveDamaged(name, f"it belongs to user {found.st_uid}")
    if found.st_size > most_bytes:
        raise ArchiveDamaged(name, f"it has more than {most_bytes:,} bytes")


def _write(handle: int, content: bytes) -> None:
    with open(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
