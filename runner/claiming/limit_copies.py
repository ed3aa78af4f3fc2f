"""Compares the limits and pauses of each partition of a spread namespace with the namespace's.

Rule: see streams/layout/copies.py. Every runner does it, so one is enough; it never ends by itself.
"""

from __future__ import annotations

import anyio

from everfold.runner.claiming.trouble import note_trouble
from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.streams.layout.copies import COMPARE_EVERY_S, repair_copies

logger = get_logger("everfold.runner")


class LimitCopies:
    """Repairs copies every COMPARE_EVERY_S seconds."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def run(self) -> None:
        """Work until cancelled; what does not answer is repaired another time."""
        while self._log.keys.is_spread:
            try:
                if repaired := await repair_copies(self._log):
                    logger.info("limits_copied partitions=%d", repaired)
            except EverfoldError as error:
                note_trouble("limit copies", error)
            await anyio.sleep(COMPARE_EVERY_S)
