"""Looks whether the store of output files can be written, before a job finds out at its end.

Rule: it writes a few bytes as a job would, and removes them. Nothing is decided by what it finds:
the runner logs it, and tells it in its entry, for doctor.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import anyio

from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError

logger = get_logger("everfold.assets")

PROBE_EVERY_S = 60.0


class StoreProbe:
    """Looks at the start, and then every PROBE_EVERY_S."""

    def __init__(self, store: AssetStore | None, *, every_s: float = PROBE_EVERY_S) -> None:
        self._store, self._every_s = store, every_s
        self._content = secrets.token_bytes(4096)
        """Of this process alone, so that nobody has stored the same."""
        self.trouble = ""
        """Why the store cannot be written, empty while it can."""

    async def run(self) -> None:
        """Look until cancelled."""
        if self._store is None:
            return
        while True:
            self._note(await self._look(self._store))
            await anyio.sleep(self._every_s)

    async def _look(self, store: AssetStore) -> str:
        try:
            blob = await store.blobs.put(self._pieces())
            await store.blobs.delete(blob.hash)
        except EverfoldError as error:
            return str(error)
        return ""

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield self._content

    def _note(self, trouble: str) -> None:
        if trouble and not self.trouble:
            logger.warning("assets_not_writable why=%r", trouble)
        elif self.trouble and not trouble:
            logger.info("assets_writable")
        self.trouble = trouble
