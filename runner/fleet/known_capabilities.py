"""What one server has, as its runner read it last, and when to read it again.

Rule: what cannot be read is unknown, and a server of which nothing is known may have everything.
"""

from __future__ import annotations

import time

from everfold.runner.backend import Backend, Unreachable
from everfold.runner.capabilities.fits import FitCache, Missing
from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.streams.border.logger import get_logger
from everfold.streams.events.needs import Needs

logger = get_logger("everfold.runner")

LOOK_EVERY_S = 300.0
"""How often it is read: model files come without a restart."""
LOOK_AGAIN_S = 30.0
"""How soon after it could not be read."""
LOOK_SOON_S = 15.0
"""How soon while a job waits for what the server lacked."""


class KnownCapabilities:
    """What one server has. `info` is None while that is unknown."""

    def __init__(self) -> None:
        self.info: ObjectInfo | None = None
        self.is_wanted = False
        """A job waits for what the server lacked when it was read."""
        self.boot = ""
        """The marker of the boot of which it was read last, as far as that is known."""
        self._looked_at_s: float | None = None
        self._fits = FitCache()

    def missing(self, needs: Needs, labels: frozenset[str]) -> tuple[Missing, ...]:
        """Return what the server lacks of a job's needs; `labels` are those of the server."""
        return self._fits.missing(needs, self.info, labels)

    @property
    def is_due(self) -> bool:
        """Say whether it is to be read again."""
        if self._looked_at_s is None:
            return True
        every_s = LOOK_EVERY_S if self.info is not None else LOOK_AGAIN_S
        every_s = LOOK_SOON_S if self.is_wanted else every_s
        return time.monotonic() - self._looked_at_s >= every_s

    async def look(self, backend: Backend, *, may_have_changed: bool) -> None:
        """Read it. Where that fails, what was known stays, unless it may be another boot."""
        self._looked_at_s, self.is_wanted = time.monotonic(), False
        found = await backend.capabilities()
        if isinstance(found, Unreachable):
            logger.warning("capabilities_unknown url=%r why=%r", backend.name, found.why)
            self.info = None if may_have_changed else self.info
        elif found is None or self.info is None or found.hash != self.info.hash:
            self.info = found
