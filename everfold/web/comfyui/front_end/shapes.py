"""The JSON that the front end gets about users, files and settings, as ComfyUI has it.

Rule: pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from everfold.streams.user_files.user_file import UserFile, below


class Users(Struct, frozen=True, kw_only=True):
    """GET /users: each key is a user already, so a browser has none to choose."""

    storage: str = "server"
    migrated: bool = True


class FileInfo(Struct, frozen=True, kw_only=True):
    """A file with `full_info`. Times are Unix milliseconds."""

    path: str
    size: int
    modified: int
    created: int


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file or a folder in GET /v2/userdata. `modified` is in Unix seconds."""

    name: str
    path: str
    type: str
    size: int | None = None
    modified: float | None = None


def file_info(file: UserFile, path: str) -> FileInfo:
    """Return a file under the path at which it is to be shown."""
    return FileInfo(
        path=path, size=file.size_bytes, modified=file.modified_ms, created=file.created_ms
    )


def listed(files: Iterable[UserFile], folder: str, *, recurse: bool) -> list[tuple[UserFile, str]]:
    """Return the files of a folder, each with its path as seen from there."""
    found = [(file, below(folder, file.path)) for file in files]
    return [(file, path) for file, path in found if path and (recurse or "/" not in path)]


def entries(files: Iterable[UserFile], folder: str) -> list[Entry]:
    """Return all files and folders below a folder; folders first, then by name."""
    found = dict[str, Entry]()
    for file, inner in listed(files, folder, recurse=True):
        parts = inner.split("/")
        start = f"{folder}/" if folder else ""
        for count in range(1, len(parts)):
            path = start + "/".join(parts[:count])
            found[path + "/"] = Entry(name=parts[count - 1], path=path, type="directory")
        found[file.path] = Entry(
            name=parts[-1],
            path=file.path,
            type="file",
            size=file.size_bytes,
            modified=file.modified_ms / 1000,
        )
    return sorted(found.values(), key=lambda one: (one.type != "directory", one.name.lower()))
