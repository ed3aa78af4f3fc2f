"""The slot that one job occupies on a backend, from its reservation to its end."""

from __future__ import annotations

import anyio

from everfold.runner.execution.fleet import Berth, Fleet, Place


class Slot:
    """At most one place at a time; `leave` may be called at any time."""

    def __init__(self, fleet: Fleet, place: Place | None) -> None:
        self._fleet = fleet
        self._place = place

    async def find(self, within_s: float) -> Berth | None:
        """Return a backend that takes a new attempt, None when there is none in time."""
        if self._place is not None and self._place.berth.takes_jobs:
            return self._place.berth
        self.leave()
        self._place = self._fleet.reserve()
        if self._place is None:
            with anyio.move_on_after(within_s):
                self._place = await self._fleet.reserve_when_free()
        return self._place.berth if self._place is not None else None

    def settle_at(self, url: str) -> None:
        """Count in where an attempt that already lives is."""
        if self._place is None or self._place.berth.backend.name != url:
            self.leave()
            self._place = self._fleet.place_at(url)

    def leave(self) -> None:
        if self._place is not None:
            self._fleet.leave(self._place)
            self._place = None
