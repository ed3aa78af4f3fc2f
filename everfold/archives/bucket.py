"""An archive in an S3-compatible store, through obstore; AWS_ variables configure it."""

from __future__ import annotations

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from everfold.streams.border.addresses import masked_text
from everfold.streams.errors import ArchiveUnavailable


def first_line(error: Exception) -> str:
    """Return what the store says, without the dump of its state."""
    return masked_text(str(error).strip().partition("\n")[0])


class Bucket:
    """A `Store` at `s3://bucket/prefix`. Raises ArchiveUnavailable for settings that are wrong."""

    def __init__(self, url: str) -> None:
        self.url = url
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
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise ArchiveUnavailable(self.url, first_line(error)) from error
