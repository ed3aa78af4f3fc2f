"""Opens the archive of a namespace: the given one, else the one stored in the namespace."""

from __future__ import annotations

from typing import cast

from everfold.buckets.access import check_bucket
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.folder import Folder, Store
from everfold.streams.border.addresses import masked_address
from everfold.streams.errors import Misconfigured
from everfold.streams.events.checks import check_text
from everfold.streams.redis.redis_errors import command

ADDRESS_LIMIT = 4_096
"""Letters of an archive's address: no path that a system opens is longer."""

FIELD = "archive"
"""Field of the meta hash: the address of the archive."""


def open_store(url: str) -> Store:
    """Open a folder (a path or file://...) or a bucket (s3://bucket/prefix).

    Raises Misconfigured for any other address, or without the extra `archive`.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or (scheme == "file" and rest.startswith(("/", "~"))):
        return Folder(rest if separator else url)
    if scheme == "s3":
        check_bucket(url)
        try:
            from everfold.archives.bucket import Bucket
        except ImportError as error:
            raise Misconfigured(
                f"{url} needs the package obstore: pip install 'everfold[archive]'"
            ) from error
        return Bucket(url)
    raise Misconfigured(
        f"{masked_address(url)!r} is not an archive: write a folder's path, or s3://bucket/prefix"
    )


async def known_archive(log: Log, given: str | None = "") -> Archive | None:
    """Return the archive at `given`, else the stored one, None when there is neither.

    Raises InvalidName for what is no text, Misconfigured for an address that cannot be used, or
    Unavailable.
    """
    url = check_text("archive", "" if given is None else given, most=ADDRESS_LIMIT)
    if not url:
        stored = cast("bytes | None", await command(log.redis, "HGET", log.keys.meta(), FIELD))
        url = (stored or b"").decode(errors="replace")
    return Archive(open_store(url)) if url else None


def opened_archive(url: str) -> Archive | None:
    """Return the archive at an address, None for none. Raises Misconfigured."""
    return Archive(open_store(url)) if url else None


async def needed_archive(log: Log, given: str = "") -> Archive:
    """Return the archive as `known_archive` does. Raises Misconfigured when there is none."""
    archive = await known_archive(log, given)
    if archive is None:
        raise Misconfigured(
            f"the namespace {log.keys.namespace!r} has no archive yet: "
            "`everfold archive run --archive FOLDER` makes one"
        )
    return archive


async def remember_archive(log: Log, archive: Archive) -> None:
    """Store the archive's address in the namespace, for all other programs. Raises Unavailable."""
    await command(log.redis, "HSET", log.keys.meta(), FIELD, archive.store.url)
