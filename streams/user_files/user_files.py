"""The small files of users: written whole, bounded in number and bytes, each user's apart.

Rule: each call is one step on the server, so that of two writers one comes first and none leaves
half a file.
"""

from __future__ import annotations

from typing import Literal, cast

from everfold.streams.appending.log import Log
from everfold.streams.errors import TooLarge
from everfold.streams.events.limits import (
    USER_FILE_LIMIT_BYTES,
    USER_FILES_LIMIT,
    USER_FILES_LIMIT_BYTES,
)
from everfold.streams.redis.pages import read_large_hash
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script
from everfold.streams.user_files.user_file import UserFile, user_path

_write_user_file = Script("everfold.streams", "write_user_file")
_move_user_file = Script("everfold.streams", "move_user_file")
_remove_user_file = Script("everfold.streams", "remove_user_file")


def read_times(text: bytes) -> tuple[int, int, int]:
    """Return size, time of making and time of the last change. Raises ValueError."""
    size, created, modified = text.split(b" ")
    return int(size), int(created), int(modified)


async def list_user_files(log: Log, user: str) -> list[UserFile]:
    """Return all files of a user by path. Raises a leaf of Unavailable."""
    found = []
    for field, text in (await read_large_hash(log.redis, log.keys.user_file_times(user))).items():
        try:
            size, created, modified = read_times(text)
            path = field.decode()
        except ValueError:
            continue  # another program wrote it; the doctor names it
        file = UserFile(path=path, size_bytes=size, created_ms=created, modified_ms=modified)
        found.append(file)
    return sorted(found, key=lambda file: file.path)


async def read_user_file(log: Log, user: str, path: str) -> bytes | None:
    """Return the content of a file; None where there is none.

    Raises InvalidName, a leaf of Unavailable.
    """
    found = await command(log.redis, "HGET", log.keys.user_files(user), user_path(path))
    return found if isinstance(found, bytes) else None


async def write_user_file(
    log: Log, user: str, path: str, content: bytes, *, overwrite: bool = True
) -> UserFile | None:
    """Write a file; None where one is there that may not be replaced.

    Raises InvalidName, TooLarge, or a leaf of Unavailable.
    """
    path = user_path(path)
    if len(content) > USER_FILE_LIMIT_BYTES:
        raise TooLarge("this file", len(content), USER_FILE_LIMIT_BYTES)
    limits = (USER_FILES_LIMIT, USER_FILES_LIMIT_BYTES)
    arguments = (path, content, int(overwrite), *limits)
    reply = await _write_user_file.run(log.redis, _touched(log, user), arguments, log.replicas)
    if reply[0] == b"full":
        files, size = cast("tuple[int, int]", reply[1:])
        if files > USER_FILES_LIMIT:
            raise TooLarge("this user", files, USER_FILES_LIMIT, "files")
        raise TooLarge("all files of this user together", size, USER_FILES_LIMIT_BYTES)
    return _file(path, reply) if reply[0] == b"written" else None


async def move_user_file(
    log: Log, user: str, path: str, new_path: str, *, overwrite: bool = True
) -> UserFile | Literal["unknown", "exists"]:
    """Give a file another path; say where there is none, or one already at the new path.

    Raises InvalidName, a leaf of Unavailable.
    """
    new_path = user_path(new_path)
    arguments = (user_path(path), new_path, int(overwrite))
    reply = await _move_user_file.run(log.redis, _touched(log, user), arguments)
    if reply[0] == b"moved":
        return _file(new_path, reply)
    return "unknown" if reply[0] == b"unknown" else "exists"


async def remove_user_file(log: Log, user: str, path: str) -> bool:
    """Delete a file; say whether there was one. Raises InvalidName, a leaf of Unavailable."""
    reply = await _remove_user_file.run(log.redis, _touched(log, user), (user_path(path),))
    return reply[0] == b"removed"


async def forget_user(log: Log, user: str) -> int:
    """Delete all files and settings of a user; return how many files there were.

    Raises a leaf of Unavailable.
    """
    files = await command(log.redis, "HLEN", log.keys.user_files(user))
    await command(log.redis, "UNLINK", *_touched(log, user), log.keys.user_settings(user))
    return cast("int", files)


def _touched(log: Log, user: str) -> tuple[str, str]:
    return log.keys.user_files(user), log.keys.user_file_times(user)


def _file(path: str, reply: list[object]) -> UserFile:
    size, created, modified = cast("tuple[int, int, int]", reply[1:])
    return UserFile(path=path, size_bytes=size, created_ms=created, modified_ms=modified)
