"""Opening an archive by its address; the log remembers which one it has.

Rule: an address given by hand counts; else the one that the archiver noted in the namespace.
"""

from __future__ import annotations

from typing import cast

from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.folder import Folder, Store
from everfold.streams.errors import Misconfigured
from everfold.streams.redis.redis_errors import command

FIELD = "archive"
"""Of the namespace's meta hash."""


def open_store(url: str) -> Store:
    """Open a folder (a path or file://...) or a bucket (s3://bucket/prefix).

    Raises Misconfigured for an address that makes no sense, or a missing extra.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return Folder(rest if separator else url)
    if scheme == "s3":
        try:
            from everfold.archives.bucket import Bucket
        except ImportError as error:
            raise Misconfigured(
                f"{url} needs the package obstore: pip install 'everfold[archive]'"
            ) from error
        return Bucket(url)
    raise Misconfigured(f"{url!r} is no archive: write a folder's path, or s3://bucket/prefix")


async def known_archive(log: Log, given: str = "") -> Archive | None:
    """Return the archive of a namespace, None when it has none."""
    url = given
    if not url:
        stored = cast("bytes | None", await command(log.redis, "HGET", log.keys.meta(), FIELD))
        url = (stored or b"").decode()
    return Archive(open_store(url)) if url else None


async def needed_archive(log: Log, given: str = "") -> Archive:
    """Return the archive of a namespace. Raises Misconfigured when it has none."""
    archive = await known_archive(log, given)
    if archive is None:
        raise Misconfigured(
            f"the namespace {log.keys.namespace!r} has no archive yet: "
            "`everfold archive run --archive FOLDER` makes one"
        )
    return archive


async def remember_archive(log: Log, archive: Archive) -> None:
    await command(log.redis, "HSET", log.keys.meta(), FIELD, archive.store.url)
