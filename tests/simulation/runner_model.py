"""runner/runner.py as a model: a process with its actors and one task per job in hand."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

from everfold.runner.backend import Backend
from everfold.runner.config import RunnerConfig
from everfold.runner.decisions.suspects import Suspects
from everfold.runner.execution.fleet import Berth, Place
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import Unavailable
from tests.simulation import actors
from tests.simulation.carrying import Carrying
from tests.simulation.guard import Lane
from tests.simulation.process import REDIS, Process
from tests.simulation.tasks import Steps, ask

if TYPE_CHECKING:
    from tests.simulation.world import World

HAND_OVER_MS = 3_000


class Runner(Process):
    def __init__(self, world: World, config: RunnerConfig) -> None:
        super().__init__(world, config.name)
        self.config = config
        self.leases = world.parts.lease_book(self)
        self.remotes = {name: world.parts.remote(self, it) for name, it in world.backends.items()}
        # The berths are the product's own; of a backend they use the name only.
        self.berths = [Berth(cast("Backend", it), config.slots) for it in self.remotes.values()]
        self.runs: dict[str, Carrying] = {}
        self.suspects = Suspects(config.suspect_after_s)
        self.cursors: dict[Lane, int] = {}
        self.hold_until_ms = 0
        self.is_draining = False
        self._begin()

    def _begin(self) -> None:
        self.spawn(self.leases.keep_renewed(), "renewing", on_thread=True)
        for berth in self.berths:
            self.spawn(actors.looking(self, berth), "looking")
        self.spawn(actors.enrolling(self), "enrolling")
        self._taking = self.spawn(actors.taking(self), "taking")
        self.spawn(self.world.parts.sweeping(self), "sweeping")
        self.spawn(actors.promoting(self), "promoting")

    @property
    def lanes(self) -> list[Lane]:
        return self.world.lanes

    @property
    def is_blocked(self) -> bool:
        return self.blocked_until_ms > self.agenda.now_ms

    def note(self, job_id: str, *words: object) -> None:
        if self.world.is_tracing:
            self.world.note(self.name, job_id, *words)

    def reserve(self) -> Place | None:
        best = max(self.berths, key=lambda berth: berth.room)
        if best.room == 0:
            return None
        best.placed += 1
        return Place(best)

    def berth(self, name: str) -> Berth:
        return next(berth for berth in self.berths if berth.backend.name == name)

    def start(self, lease: Lease, asked_at_ms: int, place: Place | None) -> None:
        """Begin the run of a job that was just leased."""
        earlier = self.runs.get(lease.job_id)
        if earlier is not None and self.world.parts.is_known_lease(earlier.lease, lease):
            if place is not None:
                place.berth.placed -= 1
            return
        if earlier is not None:
            earlier.lose()
        run = self.world.parts.carrying(self, lease, place)
        self.runs[lease.job_id] = run
        self.leases.add(lease, asked_at_ms, run)
        self.note(lease.job_id, "leases, epoch", lease.epoch)
        run.task = self.spawn(run.run(), lease.job_id)

    def wake(self) -> None:
        """A hint: there may be work."""
        self._taking.wake()

    def forget(self, run: Carrying) -> None:
        if self.runs.get(run.lease.job_id) is run:
            del self.runs[run.lease.job_id]

    def die(self) -> None:
        """kill -9: nothing more happens here; what was sent is on its way."""
        self.is_alive = False
        self.world.note(self.name, "dies")

    def drain(self) -> None:
        """SIGTERM."""
        if self.is_draining:
            return
        self.is_draining = True
        self.world.note(self.name, "drains")
        self.spawn(self._finish_or_hand_over(), "draining")

    def _finish_or_hand_over(self) -> Steps[None]:
        yield from self._until_none_left(int(self.config.drain_s * 1000))
        for run in list(self.runs.values()):
            run.hand_over()
        yield from self._until_none_left(HAND_OVER_MS)
        server = self.world.server
        with suppress(Unavailable):
            yield from ask(
                REDIS, lambda: server.registered_runners.discard(self.name), "strike off"
            )
        self.die()

    def _until_none_left(self, within_ms: int) -> Steps[None]:
        until_ms = self.agenda.now_ms + within_ms
        while self.runs and self.agenda.now_ms < until_ms:
            yield 200
