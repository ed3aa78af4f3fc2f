"""What one job run knows of the backend that has its job's attempt, and its slot there.

Rule: the attempt is asked for at the server that took it, by whatever address this runner has for
that server. What cannot be asked there is unknown.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import anyio
import msgspec

from everfold.projector.job.job import Job
from everfold.runner.backend import (
    Attempt,
    Backend,
    OutputAnswer,
    OutputFile,
    Running,
    Truth,
    Unreachable,
)
from everfold.runner.execution.attempt_place import place_of
from everfold.runner.fleet.backend_state import BackendState
from everfold.runner.fleet.fleet import Fleet, Reservation
from everfold.streams.appending.log import Log
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.events.event import Succeeded
from everfold.streams.leases.backends import note_abandoned

WEDGED_AFTER_S = 120.0
"""A prompt that runs for so long without any progress keeps others waiting: they go elsewhere."""

TURN_WITHIN_S = 1.0
"""How long a job waits for those before it to be sent: one that hangs must not hold up the rest."""

HAND_OVER_AFTER_S = 3.0
"""How long a runner tries to reach a backend that another one reaches."""


class JobBackend:
    """The backend of one job, for one run of it. Each call takes the job's newest state."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._leased_at_s = steady_s()
        self._not_understood_since_s: float | None = None
        """Since when the backend answers and its truth cannot be read, None when it can."""

    def state(self, job: Job) -> BackendState:
        """Return the state of the backend that has the job's attempt."""
        return self._fleet.state_of(job.backend, job.server)

    def shown(self, job: Job) -> str:
        """Return what people call the backend that has the job's attempt; `-` without any."""
        return self._fleet.called(job.backend, job.server) if job.backend else "-"

    def backend(self, job: Job) -> Backend:
        return self.state(job).backend

    async def truth(self, job: Job) -> Truth:
        """Ask the backend; a job that is to stop does not wait longer for it than its bound."""
        if (why := self._fleet.misses(self.state(job))) is not None:
            return Unreachable(why)
        is_to_stop = job.is_canceling or job.stopping != ""
        limit_s = job.policy.stop_within_s if is_to_stop else math.inf
        with anyio.move_on_after(limit_s):
            return await self.backend(job).truth(job.prompt_id, job.boot, job.server)
        return Unreachable(f"no answer within {limit_s:g} s")

    async def stop(self, job: Job, attempt: Attempt) -> None:
        """Ask the backend to end the attempt, within the job's bound."""
        if self._fleet.misses(self.state(job)) is None:
            with anyio.move_on_after(job.policy.stop_within_s):
                await self.backend(job).cancel(attempt)

    @asynccontextmanager
    async def open_output(
        self, job: Job, ended_ms: int, file: OutputFile
    ) -> AsyncIterator[OutputAnswer]:
        """Ask for a file of the job's attempt, which ended at a time by the backend's clock."""
        if (why := self._fleet.misses(self.state(job))) is not None:
            yield Unreachable(why)
            return
        dated = msgspec.structs.replace(file, written_by_ms=ended_ms)
        async with self.backend(job).open_output(dated, job.boot, job.server) as answer:
            yield answer

    def away_s(self, job: Job, truth: Truth | None) -> float:
        """Return how long nothing was learned of the backend: it is silent, or not understood."""
        if truth is None:
            return 0.0
        if not isinstance(truth, Unreachable):
            self._not_understood_since_s = None
            return 0.0
        state = self.state(job)
        if not state.reachable:
            return state.away_s
        if self._not_understood_since_s is None:
            self._not_understood_since_s = anyio.current_time()
        return anyio.current_time() - self._not_understood_since_s

    def judge_silence(self, job: Job, truth: Truth | None, silent_s: float) -> None:
        """Note whether the attempt keeps others waiting without any sign of life."""
        if isinstance(truth, Running) and silent_s > WEDGED_AFTER_S:
            self.state(job).mark_wedged(job.prompt_id)
        elif silent_s < WEDGED_AFTER_S and not job.stopping:
            self.state(job).clear_wedged(job.prompt_id)

    def note_run(self, job: Job, event: Succeeded) -> None:
        """Note how long the job ran there, where that tells of the next ones."""
        began_ms, ended_ms = event.started_at_ms or 0, event.ended_at_ms or 0
        # The backend's clock may have been set meanwhile: it cannot have run before it was sent.
        most_ms = job.updated_at_ms - (job.submitting_at_ms or job.submitted_at_ms)
        if 0 < began_ms < ended_ms and ended_ms - began_ms <= most_ms:
            self.state(job).note_run((ended_ms - began_ms) / 1000)

    def better_runner(self, job: Job, own: str) -> str:
        """Return another runner that reaches the backend and serves the job's queue, once this one
        has tried for a while; empty when there is none. `own` is the name of this runner."""
        state = self.state(job)
        if state.reachable or not state.is_reached_elsewhere:
            return ""
        if steady_s() - self._leased_at_s < HAND_OVER_AFTER_S:
            return ""
        for name, entry in self._fleet.neighbours.items():
            reaches = name == state.reached_by or state.backend.name in entry.reaches
            if name != own and reaches and job.queue in entry.queues:
                return name
        return ""

    async def abandon(self, log: Log, job: Job, now_ms: int) -> None:
        """Remember the prompt before the event that gives it up: it is stopped when its backend is
        seen again. One that goes on although it was to stop wedges its backend."""
        state = self.state(job)
        if state.reachable:
            state.mark_wedged(job.prompt_id)
        await note_abandoned(log, place_of(job).abandoned(job.job_id, now_ms))


class JobSlot:
    """Reserves slots of a fleet for one job."""

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

    @property
    def state(self) -> BackendState | None:
        """The backend on which a slot is reserved."""
        return self._reservation.state if self._reservation is not None else None

    async def wait_for_turn(self) -> None:
        """Wait until the jobs with earlier slots there were sent, TURN_WITHIN_S at most."""
        before = self._reservation.before if self._reservation is not None else None
        if before is not None and not before.is_set():
            with anyio.move_on_after(TURN_WITHIN_S):
                await before.wait()

    def note_sent(self) -> None:
        """Let the job with the next slot of this backend be sent."""
        if self._reservation is not None:
            self._reservation.sent.set()

    def move_to(self, url: str, server: str = "") -> None:
        """Reserve a slot on the backend where the job's attempt lives already."""
        state = self._fleet.state_of(url, server)
        if self._reservation is None or self._reservation.state is not state:
            self.release()
            self._reservation = self._fleet.reserve_at(url, server)

    @property
    def backend(self) -> str:
        """What people call the backend on which a slot is reserved; empty without any."""
        state = self.state
        return (state.title or state.backend.name) if state is not None else ""

    def release(self) -> None:
        """Give the slot back; does nothing when none is reserved."""
        if self._reservation is not None:
            self._fleet.release(self._reservation)
            self._reservation = None


def has_place(job: Job) -> bool:
    """Say whether the job's log names a backend, even by an empty name."""
    return bool(job.backend) or job.may_be_alive
