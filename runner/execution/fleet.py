"""The backends of a runner: how much room each has, and which one gets the next job.

Rule: a backend's queue stays short, because jobs are safe in Redis and not in ComfyUI's memory. A
backend that does not answer has no room and is polled with back-off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence

import anyio
import anyio.abc
from msgspec import Struct

from everfold.runner.backend import Backend, Unreachable
from everfold.runner.execution.backend_state import BackendState
from everfold.streams.closing import close
from everfold.streams.redis.retry import Backoff

logger = logging.getLogger("everfold.runner")

POLL_EVERY_S = 1.0


class Reservation(Struct, eq=False):
    """One slot of one backend. It stays reserved until `Fleet.release` is called with it."""

    state: BackendState


class Fleet:
    """All backends of one runner.

    `make` builds a backend for an unlisted URL, which only a recovered job names: that backend is
    asked about the job and never gets a new one. `aclose` closes listed and unlisted backends.
    """

    def __init__(
        self, backends: Sequence[Backend], slots: int, make: Callable[[str], Backend]
    ) -> None:
        self.states = [BackendState(backend, slots) for backend in backends]
        self._make = make
        self._unlisted: dict[str, BackendState] = {}
        """By URL: backends that a recovered job names and the configuration does not."""
        self.given_up: dict[str, int] = {}
        """Job -> the attempt that an operator gave up."""
        self._polling: anyio.abc.TaskGroup | None = None
        self._changed = anyio.Event()

    @property
    def room(self) -> int:
        """Return the free slots of all listed backends."""
        return sum(state.room for state in self.states)

    @property
    def all_states(self) -> tuple[BackendState, ...]:
        """Every backend, the unlisted ones included."""
        return (*self.states, *self._unlisted.values())

    def refuse_all(self, refused_by: Collection[str]) -> bool:
        """Say whether every backend in service has refused a job; False while none is."""
        serving = [state for state in self.states if not state.is_retired]
        return bool(serving) and all(state.backend.name in refused_by for state in serving)

    def reserve(self, without: Collection[str] = ()) -> Reservation | None:
        """Reserve a slot on the backend with the most room; None when no backend has any.

        `without` names backends that cannot run the job.
        """
        able = (state for state in self.states if state.backend.name not in without)
        best = max(able, key=lambda state: state.room, default=None)
        if best is None or best.room == 0:
            return None
        best.reserved += 1
        return Reservation(best)

    async def reserve_when_free(self, without: Collection[str] = ()) -> Reservation:
        """Wait, without a limit, until a slot is free, and reserve it."""
        while True:
            reservation = self.reserve(without)
            if reservation is not None:
                return reservation
            await self._changed.wait()

    def reserve_at(self, url: str) -> Reservation:
        """Reserve a slot where a recovered job runs already, even beyond the backend's slots."""
        state = self.state_of(url)
        state.reserved += 1
        return Reservation(state)

    def release(self, reservation: Reservation) -> None:
        """Give a slot back and wake everyone who waits for room. Call it once per reservation."""
        reservation.state.reserved -= 1
        self._notify()

    def release_unused(self, reservations: Iterable[Reservation]) -> None:
        """Give back slots that got no job; wakes nobody, because the room is as it was before."""
        for reservation in reservations:
            reservation.state.reserved -= 1

    def state_of(self, url: str) -> BackendState:
        """Return the state of the backend at `url`; an unlisted one is added and polled."""
        for state in self.states:
            if state.backend.name == url:
                return state
        if url not in self._unlisted:
            self._unlisted[url] = BackendState(self._make(url), slots=0)
            if self._polling is not None:
                self._polling.start_soon(self._poll, self._unlisted[url])
        return self._unlisted[url]

    async def changed(self) -> None:
        """Wait until there may be more room than before."""
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Poll every backend until cancelled."""
        async with anyio.create_task_group() as self._polling:
            for state in self.all_states:
                self._polling.start_soon(self._poll, state)

    async def _poll(self, state: BackendState) -> None:
        backoff = Backoff(first_s=POLL_EVERY_S, most_s=10.0)
        while True:
            await self._poll_once(state)
            if state.reachable:
                backoff.reset()
            await anyio.sleep(POLL_EVERY_S if state.reachable else backoff.next_s())

    async def _poll_once(self, state: BackendState) -> None:
        before = (state.reachable, state.healthy, state.why_down)
        reserved_before = state.reserved
        try:
            load = await state.backend.load()
        except Exception as error:  # whatever an adapter raises counts against its backend alone
            load = Unreachable(f"{type(error).__name__}: {error}")
        state.update(load, reserved_before, anyio.current_time())
        if before != (state.reachable, state.healthy, state.why_down):
            _log_change(state)
        if state.room:
            self._notify()

    async def aclose(self) -> None:
        """Close every backend, the unlisted ones included."""
        for state in self.all_states:
            await close(state.backend)


class JobSlot:
    """The slot of one job: at most one reservation at a time, which may move between backends."""

    def __init__(self, fleet: Fleet, reservation: Reservation | None) -> None:
        self._fleet = fleet
        self._reservation = reservation

    async def reserve(self, within_s: float, without: Collection[str] = ()) -> BackendState | None:
        """Return a backend that takes a new attempt, with a slot reserved on it.

        `without` names backends that cannot run the job. Keeps the present reservation when its
        backend still takes jobs. Returns None, with
        nothing reserved, when no slot became free within `within_s`.
        """
        if self._reservation is not None:
            state = self._reservation.state
            if state.takes_jobs and state.backend.name not in without:
                return state
        self.release()
        self._reservation = self._fleet.reserve(without)
        if self._reservation is None:
            with anyio.move_on_after(within_s):
                self._reservation = await self._fleet.reserve_when_free(without)
        return self._reservation.state if self._reservation is not None else None

    def move_to(self, url: str) -> None:
        """Reserve a slot on the backend where the job's attempt lives already."""
        if self._reservation is None or self._reservation.state.backend.name != url:
            self.release()
            self._reservation = self._fleet.reserve_at(url)

    def release(self) -> None:
        """Give the slot back; does nothing when none is reserved."""
        if self._reservation is not None:
            self._fleet.release(self._reservation)
            self._reservation = None


def _log_change(state: BackendState) -> None:
    name = state.backend.name
    if state.takes_jobs:
        logger.info("backend_up url=%s", name)
    else:
        logger.warning("backend_down url=%s why=%r", name, state.why_not)
