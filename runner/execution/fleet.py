"""The backends of a runner: how much room each has, and which one gets the next job.

Rule: a backend's queue stays short, because jobs are safe in Redis and not in ComfyUI's memory. A
backend that does not answer has no room and is polled with back-off. A backend that shows waiting
prompts and no running one in two polls has a dead worker: it gets nothing until it runs a prompt
again or its queue is empty.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import anyio
import anyio.abc
from msgspec import Struct

from everfold.runner.backend import Backend, Load, Unreachable
from everfold.streams.redis.retry import Backoff

logger = logging.getLogger("everfold.runner")

POLL_EVERY_S = 1.0
DEAD_WORKER_AFTER_S = 2.0
"""Time between two polls that both show waiting prompts and no running one: certain by then."""


class BackendState:
    """One backend as last polled, and the slots that this runner has reserved on it."""

    def __init__(self, backend: Backend, slots: int) -> None:
        self.backend = backend
        self.slots = slots
        self.reserved = 0
        """Slots in use by jobs of this runner."""
        self.others = 0
        """Prompts in its queue that this runner did not send, by the last poll."""
        self.reachable = False
        self.healthy = True
        """False: it answers, but its worker is dead."""
        self.why_down = "not asked yet"
        self._idle_since_s: float | None = None
        """Since when prompts wait there and none runs; None when that is not so."""

    @property
    def takes_jobs(self) -> bool:
        """Whether a new attempt may be sent there, free slots aside."""
        return self.reachable and self.healthy

    @property
    def room(self) -> int:
        """Return the number of free slots: 0 when it takes no jobs, never negative."""
        if not self.takes_jobs:
            return 0
        return max(0, self.slots - self.reserved - self.others)

    def update(self, load: Load | Unreachable, reserved_before: int, now_s: float) -> None:
        """Apply the answer of one poll.

        `reserved_before` is the value of `reserved` when the poll began, `now_s` the time of any
        steady clock in seconds.
        """
        if isinstance(load, Unreachable):
            self.reachable, self.why_down, self._idle_since_s = False, load.why, None
            return
        self.reachable = True
        # A job that came or left during the poll must not be counted as somebody else's.
        self.others = max(0, load.running + load.pending - max(reserved_before, self.reserved))
        self._update_health(load, now_s)

    def _update_health(self, load: Load, now_s: float) -> None:
        if load.running or not load.pending:
            self._idle_since_s = None
            self.healthy = self.healthy or load.running > 0 or load.pending == 0
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        elif now_s - self._idle_since_s >= DEAD_WORKER_AFTER_S:
            self.healthy = False


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
        self._polling: anyio.abc.TaskGroup | None = None
        self._changed = anyio.Event()

    @property
    def room(self) -> int:
        """Return the free slots of all listed backends."""
        return sum(state.room for state in self.states)

    def reserve(self) -> Reservation | None:
        """Reserve a slot on the backend with the most room; None when no backend has any."""
        best = max(self.states, key=lambda state: state.room, default=None)
        if best is None or best.room == 0:
            return None
        best.reserved += 1
        return Reservation(best)

    async def reserve_when_free(self) -> Reservation:
        """Wait, without a limit, until a slot is free, and reserve it."""
        while True:
            reservation = self.reserve()
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
            for state in (*self.states, *self._unlisted.values()):
                self._polling.start_soon(self._poll, state)

    async def _poll(self, state: BackendState) -> None:
        backoff = Backoff(first_s=POLL_EVERY_S, most_s=10.0)
        while True:
            await self._poll_once(state)
            if state.reachable:
                backoff.reset()
            await anyio.sleep(POLL_EVERY_S if state.reachable else backoff.next_s())

    async def _poll_once(self, state: BackendState) -> None:
        before = (state.reachable, state.healthy)
        reserved_before = state.reserved
        state.update(await state.backend.load(), reserved_before, anyio.current_time())
        if before != (state.reachable, state.healthy):
            _log_change(state)
        if state.room:
            self._notify()

    async def aclose(self) -> None:
        """Close every backend, the unlisted ones included."""
        for state in (*self.states, *self._unlisted.values()):
            await state.backend.aclose()


class JobSlot:
    """The slot of one job: at most one reservation at a time, which may move between backends."""

    def __init__(self, fleet: Fleet, reservation: Reservation | None) -> None:
        self._fleet = fleet
        self._reservation = reservation

    async def reserve(self, within_s: float) -> BackendState | None:
        """Return a backend that takes a new attempt, with a slot reserved on it.

        Keeps the present reservation when its backend still takes jobs. Returns None, with
        nothing reserved, when no slot became free within `within_s`.
        """
        if self._reservation is not None and self._reservation.state.takes_jobs:
            return self._reservation.state
        self.release()
        self._reservation = self._fleet.reserve()
        if self._reservation is None:
            with anyio.move_on_after(within_s):
                self._reservation = await self._fleet.reserve_when_free()
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
    elif state.reachable:
        logger.warning("backend_worker_dead url=%s: prompts wait and none runs", name)
    else:
        logger.warning("backend_down url=%s why=%r", name, state.why_down)
