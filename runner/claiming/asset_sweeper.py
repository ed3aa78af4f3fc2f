"""Sweeps the store of assets: what is expired, what no job names, bytes that nobody has.

Rule: of the runners that have the same store, whoever is first sweeps it once in SWEEP_EVERY_S.
"""

from __future__ import annotations

import random
import socket
from functools import partial
from hashlib import sha256

import anyio

from everfold.projector.reading.named_assets import is_named
from everfold.runner.claiming.trouble import note_trouble
from everfold.runner.execution.shared import Shared
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.sweeping import Sweeper
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.streams.leases.registry import place_on
from everfold.streams.redis.redis_errors import command

logger = get_logger("everfold.assets")

SWEEP_EVERY_S = 3600.0
FIRST_WITHIN_S = 300.0
"""A runner that starts looks within this time, at a moment of its own."""


class AssetSweeper:
    """Sweeps once in SWEEP_EVERY_S, unless another runner with the same store has."""

    def __init__(self, shared: Shared, *, every_s: float = SWEEP_EVERY_S) -> None:
        self._shared, self._every_s = shared, every_s

    async def run(self) -> None:
        """Sweep until cancelled. Trouble is waited out: what is left is there the next time."""
        store = self._shared.assets
        if store is None:
            return
        pause_s = random.uniform(0, min(FIRST_WITHIN_S, self._every_s))
        while True:
            await anyio.sleep(pause_s)
            pause_s = self._every_s * random.uniform(0.9, 1.1)
            try:
                if await self._is_first(store):
                    await self._sweep(store)
            except EverfoldError as error:
                note_trouble("asset_sweeper", error)

    async def _is_first(self, store: AssetStore) -> bool:
        """Claim the sweep of this store; False where another runner has done it lately."""
        log = self._shared.log
        place = sha256(place_on(store.url, socket.gethostname()).encode()).hexdigest()[:16]
        claim = (log.keys.asset_sweep(place), self._shared.config.name)
        reply = await command(log.redis, "SET", *claim, "NX", "PX", int(self._every_s * 900))
        return reply is not None

    async def _sweep(self, store: AssetStore) -> None:
        swept = await Sweeper(store, partial(is_named, self._shared.log)).sweep()
        logger.info(
            "assets_swept expired=%d unnamed=%d blobs=%d bytes=%d",
            swept.expired, swept.unnamed, swept.blobs, swept.size_bytes,
        )  # fmt: skip
