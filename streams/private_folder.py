"""Opens folders for archives and assets that nobody else may change, and makes them so.

Rule: no symbolic link is followed, neither for a folder nor for a file in it. What is made is for
its user alone, and has reached the disk when it is returned.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from everfold.streams.errors import Misconfigured

FOLDER_MODE = 0o700
FILE_MODE = 0o600

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What systems say that have no hard links, such as the disks of cameras, and network shares."""

NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What systems say that cannot sync a folder, such as some network shares: they keep its names
without being asked."""


def expanded(path: str | Path) -> Path:
    """Return a path with the home of a user instead of its `~`. Raises Misconfigured for a user
    that this machine does not have."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise Misconfigured(f"{str(path)!r} names the home of no user of this machine") from error


def make_folders(path: Path) -> None:
    """Make the folder, and those above it that are missing, for this user alone."""
    if not path.is_symlink() and not path.exists():
        make_folders(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=FOLDER_MODE)
            _sync(path.parent)


@contextlib.contextmanager
def opened_folder(
    path: Path | str, whose: str, *, within: int | None = None, make: bool = False
) -> Iterator[int]:
    """Yield a handle of a folder that only this user, or root, may change.

    `whose` is `the archive's` in messages, `within` the handle of the folder that holds it. Raises
    Misconfigured for a folder that others may change, OSError.
    """
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, FOLDER_MODE, dir_fd=within)
            if within is not None:
                sync_folder(within)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        why = "it is a symbolic link or no folder: name the folder itself"
        raise Misconfigured(f"{whose} folder {path} is not used: {why}") from error
    try:
        if why := _why_not(os.fstat(handle)):
            raise Misconfigured(f"{whose} folder {path} is not used: {why}")
        yield handle
    finally:
        os.close(handle)


def new_file(name: str, folder: int) -> int:
    """Make a file that was not there, and return its handle for writing. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.open(name, flags, FILE_MODE, dir_fd=folder)


def open_file(name: str, folder: int) -> int:
    """Return the handle of a file, for reading. Raises OSError, ELOOP for a symbolic link."""
    # Without O_NONBLOCK a pipe of this name would keep the reader waiting.
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)


def sync_folder(handle: int) -> None:
    """Let the names in an open folder reach the disk, where its system can. Raises OSError."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise


def is_own_file(found: os.stat_result) -> bool:
    """Say whether it is a regular file of this user or of root."""
    return stat.S_ISREG(found.st_mode) and is_own(found)


def is_own(found: os.stat_result) -> bool:
    """Say whether it belongs to this user or to root."""
    return found.st_uid in (0, os.geteuid())


def _why_not(found: os.stat_result) -> str:
    if not is_own(found):
        return f"it belongs to user {found.st_uid}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = f"{found.st_mode & 0o777:o}"
        way_out = "`chmod go-w` mends that, where the disk keeps modes"
        return f"others may write to it (mode {mode}); {way_out}"
    return ""


def _sync(path: Path) -> None:
    # One may make folders in a folder that one cannot read; the system syncs it some time later.
    with contextlib.suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sync_folder(handle)
        finally:
            os.close(handle)
