"""Files of a folder over HTTP.

Rule: a path leads to a regular file inside its folder, links followed, or to nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio.to_thread
from starlette.responses import FileResponse, Response

MEDIA_TYPES = {
    ".css": "text/css",
    ".eot": "application/vnd.ms-fontobject",
    ".gif": "image/gif",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
"""By a file's suffix; the machine's own list may call JavaScript something that no browser runs."""

KEPT_S = 365 * 24 * 3600
"""How long a browser keeps a file whose name changes with its content, in seconds."""

_HASHED = re.compile(r"assets/.*-[\w-]{8,}\.\w+(\.map)?")
"""Paths of which a new build has others."""

SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "frame-ancestors 'self'"}
"""Sent with each file: no page of another origin shows it in a frame."""


async def file_answer(
    folders: Sequence[Path], path: str, asked: Mapping[str, str]
) -> Response | None:
    """Return the file of the first folder that has one at `path`; None when none has.

    `asked` are the headers of the request: If-None-Match and Range are heeded.
    """
    found = await anyio.to_thread.run_sync(find_file, folders, path)
    if found is None:
        return None
    file, stat = found
    kept = f"public, max-age={KEPT_S}, immutable" if _HASHED.fullmatch(path) else "no-cache"
    headers = {**SAFE, "Cache-Control": kept}
    media_type = MEDIA_TYPES.get(file.suffix.lower(), "application/octet-stream")
    answer = FileResponse(file, headers=headers, media_type=media_type, stat_result=stat)
    etag = answer.headers["etag"]
    if etag in _etags(asked.get("if-none-match", "")):
        return Response(status_code=304, headers={**headers, "ETag": etag})
    return answer


def find_file(folders: Sequence[Path], path: str) -> tuple[Path, os.stat_result] | None:
    """Return the regular file at a relative path in one of some folders, its links followed, and
    what the machine knows of it."""
    if not path.isprintable() or "\\" in path:
        return None
    if any(part in ("", ".", "..") for part in path.split("/")):
        return None
    for folder in folders:
        try:
            root, found = folder.resolve(), (folder / path).resolve()
            if found.is_relative_to(root) and found.is_file():
                return found, found.stat()
        except (OSError, ValueError, RuntimeError):
            continue  # too long, a loop of links, or nothing that may be looked at
    return None


def _etags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]
