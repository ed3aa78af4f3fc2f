"""A small file of a user, and its path: a name with slashes in it, never a place on any disk.

Rule: pure.
"""

from __future__ import annotations

from msgspec import Struct

from everfold.streams.errors import InvalidName

PATH_LIMIT_BYTES = 512


class UserFile(Struct, frozen=True, kw_only=True):
    """What is known of a file beside its content. Times are the server's, in Unix milliseconds."""

    path: str
    size_bytes: int
    created_ms: int
    modified_ms: int


def user_path(text: str) -> str:
    """Return the path in the one form under which a file is stored: `workflows/a.json`.

    Raises InvalidName for one that is empty, too long, climbs with `..`, or has unprintable
    characters.
    """
    parts = [part for part in text.split("/") if part not in ("", ".")]
    path = "/".join(parts)
    if not parts or ".." in parts:
        raise InvalidName("path", text, "it must name a file, without ..")
    if not path.isprintable():
        raise InvalidName("path", text, "its characters must be printable")
    if len(path.encode()) > PATH_LIMIT_BYTES:
        raise InvalidName("path", text, f"it may have {PATH_LIMIT_BYTES} bytes")
    return path


def below(folder: str, path: str) -> str | None:
    """Return a path as seen from a folder, `""` for the root; None for one that is not in it."""
    if not folder:
        return path
    return path.removeprefix(f"{folder}/") if path.startswith(f"{folder}/") else None
