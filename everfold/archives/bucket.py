"""An archive in an S3-compatible store, through obstore; AWS_ variables configure it.

Rule: nothing is contacted that nobody has named. Without credentials obstore would ask the metadata
service at 169.254.169.254 for some, on any machine, and wait for it.
"""

from __future__ import annotations

import os

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from everfold.streams.archive.folder import FILE_LIMIT_BYTES
from everfold.streams.border.addresses import masked_text
from everfold.streams.errors import ArchiveDamaged, ArchiveUnavailable, Misconfigured

CREDENTIALS = (
    ("AWS_ACCESS_KEY_ID",),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI",),
    ("AWS_METADATA_ENDPOINT",),
)
"""Variables that say where credentials are from: all of one row."""

NO_CREDENTIALS = "AWS_SKIP_SIGNATURE"
"""Variable that is `true` for a bucket that needs none."""


def _has_credentials() -> bool:
    if os.environ.get(NO_CREDENTIALS, "").lower() in ("true", "1"):
        return True
    return any(all(map(os.environ.get, row)) for row in CREDENTIALS)


def first_line(error: Exception) -> str:
    """Return what the store says, without the dump of its state."""
    return masked_text(str(error).strip().partition("\n")[0])


class Bucket:
    """A `Store` at `s3://bucket/prefix`.

    Raises Misconfigured without a variable that names credentials, ArchiveUnavailable for settings
    that are wrong.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        if url.startswith("s3:") and not _has_credentials():
            raise Misconfigured(
                f"{url} needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for "
                "the role of an EC2 instance set AWS_METADATA_ENDPOINT=http://169.254.169.254"
            )
        try:
            self._store = from_url(url)
        except BaseError as error:
            raise ArchiveUnavailable(url, first_line(error)) from error

    async def create(self, name: str, content: bytes) -> bool:
        """Store an object; False when the name is taken. Raises ArchiveUnavailable."""
        try:
            await obstore.put_async(self._store, name, content, mode="create")
        except AlreadyExistsError:
            return False
        except BaseError as error:
            raise ArchiveUnavailable(self.url, first_line(error)) from error
        return True

    async def read(self, name: str) -> bytes | None:
        """Return an object, None when there is none. Raises ArchiveUnavailable."""
        try:
            found = await obstore.get_async(self._store, name)
            if found.meta["size"] > FILE_LIMIT_BYTES:
                raise ArchiveDamaged(name, f"it has more than {FILE_LIMIT_BYTES:,} bytes")
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise ArchiveUnavailable(self.url, first_line(error)) from error
