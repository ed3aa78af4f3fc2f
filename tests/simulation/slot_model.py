"""slot.py and the reservations of fleet.py as steps; the berths are the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everfold.runner.execution.fleet import Berth, Place
from tests.simulation.tasks import Steps

if TYPE_CHECKING:
    from tests.simulation.runner_model import Runner

LOOK_FOR_ROOM_MS = 400


class Slot:
    def __init__(self, runner: Runner, place: Place | None) -> None:
        self._runner, self._place = runner, place

    def find(self, within_s: float) -> Steps[Berth | None]:
        if self._place is not None and self._place.berth.takes_jobs:
            return self._place.berth
        self.leave()
        self._place = self._runner.reserve()
        until_ms = self._runner.agenda.now_ms + int(within_s * 1000)
        while self._place is None and self._runner.agenda.now_ms < until_ms:
            yield LOOK_FOR_ROOM_MS
            self._place = self._runner.reserve()
        return self._place.berth if self._place is not None else None

    def settle_at(self, name: str) -> None:
        if self._place is None or self._place.berth.backend.name != name:
            self.leave()
            self._place = Place(self._runner.berth(name))
            self._place.berth.placed += 1

    def leave(self) -> None:
        if self._place is not None:
            self._place.berth.placed -= 1
            self._place = None
