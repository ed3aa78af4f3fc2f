"""The backends of a runner: how much room each has, and which one gets the next job.

Rule: a backend's queue stays shallow, for jobs are safe in Redis and not in ComfyUI's memory. A
backend that does not answer has no room and is asked again with back-off. One whose queue has
waiting prompts but none running, twice, has a dead worker: nothing is sent there until it runs
something again or has restarted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import anyio
import anyio.abc
from msgspec import Struct

from everfold.runner.backend import Backend, Load, Unreachable
from everfold.streams.redis.retry import Backoff

logger = logging.getLogger("everfold.runner")

LOOK_EVERY_S = 1.0
DEAD_WORKER_AFTER_S = 2.0
"""Between two looks that both show prompts waiting and none running (PROTOCOL: certain)."""


class Berth:
    """A backend and what this runner has placed on it."""

    def __init__(self, backend: Backend, slots: int) -> None:
        self.backend = backend
        self.slots = slots
        self.placed = 0
        self.others = 0
        """Prompts there that are not ours, by the last look."""
        self.reachable = False
        self.healthy = True
        self.why_down = "not asked yet"
        self._idle_since_s: float | None = None

    @property
    def takes_jobs(self) -> bool:
        return self.reachable and self.healthy

    @property
    def room(self) -> int:
        if not self.takes_jobs:
            return 0
        return max(0, self.slots - self.placed - self.others)

    def note(self, load: Load | Unreachable, placed_before: int, now_s: float) -> None:
        """Take in what a look has shown; `placed_before` is `placed` when it was begun."""
        if isinstance(load, Unreachable):
            self.reachable, self.why_down, self._idle_since_s = False, load.why, None
            return
        self.reachable = True
        self.others = max(0, load.running + load.pending - max(placed_before, self.placed))
        self._note_worker(load, now_s)

    def _note_worker(self, load: Load, now_s: float) -> None:
        if load.running or not load.pending:
            self._idle_since_s = None
            self.healthy = self.healthy or load.running > 0 or load.pending == 0
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        elif now_s - self._idle_since_s >= DEAD_WORKER_AFTER_S:
            self.healthy = False


class Place(Struct, eq=False):
    """A reserved slot. Give it back with `Fleet.leave`."""

    berth: Berth


class Fleet:
    """All backends of one runner. `make` builds a backend for a URL that only a recovered job
    knows: it is asked about that job and never given a new one."""

    def __init__(
        self, backends: Sequence[Backend], slots: int, make: Callable[[str], Backend]
    ) -> None:
        self.berths = [Berth(backend, slots) for backend in backends]
        self._make = make
        self._strangers: dict[str, Berth] = {}
        self._looking: anyio.abc.TaskGroup | None = None
        self._changed = anyio.Event()

    @property
    def room(self) -> int:
        return sum(berth.room for berth in self.berths)

    def reserve(self) -> Place | None:
        """Take a slot on the backend with most room, None when there is none."""
        best = max(self.berths, key=lambda berth: berth.room, default=None)
        if best is None or best.room == 0:
            return None
        best.placed += 1
        return Place(best)

    async def reserve_when_free(self) -> Place:
        """Wait for a slot."""
        while True:
            place = self.reserve()
            if place is not None:
                return place
            await self._changed.wait()

    def place_at(self, url: str) -> Place:
        """Count a recovered job in where it runs, even beyond the slots."""
        berth = self.berth(url)
        berth.placed += 1
        return Place(berth)

    def leave(self, place: Place) -> None:
        place.berth.placed -= 1
        self._announce()

    def berth(self, url: str) -> Berth:
        for berth in self.berths:
            if berth.backend.name == url:
                return berth
        if url not in self._strangers:
            self._strangers[url] = Berth(self._make(url), slots=0)
            if self._looking is not None:
                self._looking.start_soon(self._look_at, self._strangers[url])
        return self._strangers[url]

    async def changed(self) -> None:
        """Wait until there may be more room than before."""
        await self._changed.wait()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Look at every backend until cancelled."""
        async with anyio.create_task_group() as self._looking:
            for berth in (*self.berths, *self._strangers.values()):
                self._looking.start_soon(self._look_at, berth)

    async def _look_at(self, berth: Berth) -> None:
        backoff = Backoff(first_s=LOOK_EVERY_S, most_s=10.0)
        while True:
            await self._look_once(berth)
            if berth.reachable:
                backoff.reset()
            await anyio.sleep(LOOK_EVERY_S if berth.reachable else backoff.next_s())

    async def _look_once(self, berth: Berth) -> None:
        before = (berth.reachable, berth.healthy)
        placed = berth.placed
        berth.note(await berth.backend.load(), placed, anyio.current_time())
        if before != (berth.reachable, berth.healthy):
            _tell(berth)
        if berth.room:
            self._announce()

    async def aclose(self) -> None:
        for berth in (*self.berths, *self._strangers.values()):
            await berth.backend.aclose()


def _tell(berth: Berth) -> None:
    name = berth.backend.name
    if berth.takes_jobs:
        logger.info("backend_up url=%s", name)
    elif berth.reachable:
        logger.warning("backend_worker_dead url=%s: prompts wait and none runs", name)
    else:
        logger.warning("backend_down url=%s why=%r", name, berth.why_down)
