"""An archive in an S3-compatible store, through obstore; AWS_ variables configure it.

Rule: nothing is contacted that nobody has named.
"""

from __future__ import annotations

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from everfold.buckets.access import check_credentials, told
from everfold.streams.archive.folder import FILE_LIMIT_BYTES
from everfold.streams.errors import ArchiveDamaged, ArchiveUnavailable


class Bucket:
    """A `Store` at `s3://bucket/prefix`.

    Raises Misconfigured without a variable that names credentials, ArchiveUnavailable for settings
    that are wrong.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        if url.startswith("s3:"):
            check_credentials(url)
        try:
            self._store = from_url(url)
        except BaseError as error:
            raise ArchiveUnavailable(url, told(error)) from error

    async def create(self, name: str, content: bytes) -> bool:
        """Store an object; False when the name is taken. Raises ArchiveUnavailable."""
        try:
            await obstore.put_async(self._store, name, content, mode="create")
        except AlreadyExistsError:
            return False
        except BaseError as error:
            raise ArchiveUnavailable(self.url, told(error)) from error
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
            raise ArchiveUnavailable(self.url, told(error)) from error
