"""JobSlot and the reservations of fleet.py as steps; the backend states are the product's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everfold.runner.fleet.backend_state import BackendState
from everfold.runner.fleet.fleet import Reservation
from tests.simulation.tasks import Steps

if TYPE_CHECKING:
    from tests.simulation.runner import Runner

LOOK_FOR_ROOM_MS = 400


class JobSlot:
    def __init__(self, runner: Runner, reservation: Reservation | None) -> None:
        self._runner, self._reservation = runner, reservation

    def reserve(self, within_s: float) -> Steps[BackendState | None]:
        if self._reservation is not None and self._reservation.state.takes_jobs:
            return self._reservation.state
        self.release()
        self._reservation = self._runner.reserve()
        until_ms = self._runner.agenda.now_ms + int(within_s * 1000)
        while self._reservation is None and self._runner.agenda.now_ms < until_ms:
            yield LOOK_FOR_ROOM_MS
            self._reservation = self._runner.reserve()
        return self._reservation.state if self._reservation is not None else None

    def move_to(self, name: str) -> None:
        if self._reservation is None or self._reservation.state.backend.name != name:
            self.release()
            self._reservation = Reservation(self._runner.state_of(name))
            self._reservation.state.reserved += 1

    def release(self) -> None:
        if self._reservation is not None:
            self._reservation.state.reserved -= 1
            self._reservation = None
