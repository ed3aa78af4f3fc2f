"""The archive of a namespace, kept open by one process: each manifest is read once."""

from __future__ import annotations

from everfold.archives.opening import known_archive
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive


class KeptArchive:
    """The archive that the namespace names, and the manifests that were read of it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._archive: Archive | None = None

    async def get(self) -> Archive | None:
        """Return the archive, None where there is none.

        Raises Misconfigured for an address that cannot be used here, a leaf of Unavailable.
        """
        found = await known_archive(self._log)
        kept = self._archive
        if found is None or kept is None or kept.store.url != found.store.url:
            self._archive = found
        return self._archive
