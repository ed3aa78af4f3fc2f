"""runner/runner.py as a model: a process with its actors and one task per leased job."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

from everfold.runner.backend import Backend
from everfold.runner.config import RunnerConfig
from everfold.runner.decisions.suspects import Suspects
from everfold.runner.fleet.backend_state import BackendState
from everfold.runner.fleet.fleet import Reservation
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import Unavailable
from tests.simulation import actors
from tests.simulation.head import Lane
from tests.simulation.job_run import JobRun
from tests.simulation.process import REDIS, Process
from tests.simulation.tasks import Steps, ask
from tests.simulation.unreadable import ALL

if TYPE_CHECKING:
    from tests.simulation.world import World

RELEASE_WITHIN_MS = 3_000


class Runner(Process):
    def __init__(self, world: World, config: RunnerConfig) -> None:
        super().__init__(world, config.name)
        self.config = config
        self.reads = ALL
        self.clock = world.parts.clock_view(self)
        self.leases = world.parts.lease_renewer(self)
        self.remotes = {name: world.parts.remote(self, it) for name, it in world.backends.items()}
        # The states are the product's own; they use only the name of a backend.
        self.states = [
            BackendState(cast("Backend", it), config.slots) for it in self.remotes.values()
        ]
        self.runs: dict[str, JobRun] = {}
        self.suspects = Suspects(config.suspect_after_s)
        self.cursors: dict[Lane, int] = {}
        self.hold_until_ms = 0
        self.is_draining = False
        self._begin()

    def _begin(self) -> None:
        self.spawn(self.leases.keep_renewed(), "renewing", on_thread=True)
        for state in self.states:
            self.spawn(actors.looking(self, state), "looking")
        self.spawn(actors.registering(self), "registering")
        self.spawn(self.world.parts.heartbeat(self).beating(), "beating")
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

    def reserve(self) -> Reservation | None:
        best = max(self.states, key=lambda state: state.room)
        if best.room == 0:
            return None
        best.reserved += 1
        return Reservation(best)

    def state_of(self, name: str) -> BackendState:
        return next(state for state in self.states if state.backend.name == name)

    def start(self, lease: Lease, asked_at_ms: int, reservation: Reservation | None) -> None:
        """Start the run of a job that was just leased."""
        earlier = self.runs.get(lease.job_id)
        if earlier is not None and self.world.parts.is_known_lease(earlier.lease, lease):
            if reservation is not None:
                reservation.state.reserved -= 1
            return
        if earlier is not None:
            earlier.lose()
        run = self.world.parts.job_run(self, lease, reservation)
        self.runs[lease.job_id] = run
        self.leases.add(lease, asked_at_ms, run)
        self.note(lease.job_id, "leases, epoch", lease.epoch)
        run.task = self.spawn(run.run(), lease.job_id)

    def wake(self) -> None:
        """A hint: there may be work."""
        self._taking.wake()

    def forget(self, run: JobRun) -> None:
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
        self.spawn(self._finish_or_release(), "draining")

    def _finish_or_release(self) -> Steps[None]:
        yield from self._until_none_left(int(self.config.drain_s * 1000))
        for run in list(self.runs.values()):
            run.stop_and_release()
        yield from self._until_none_left(RELEASE_WITHIN_MS)
        server = self.world.server
        with suppress(Unavailable):
            yield from ask(
                REDIS, lambda: server.registered_runners.discard(self.name), "deregister"
            )
        self.die()

    def _until_none_left(self, within_ms: int) -> Steps[None]:
        until_ms = self.agenda.now_ms + within_ms
        while self.runs and self.agenda.now_ms < until_ms:
            yield 200
