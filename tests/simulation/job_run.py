"""runner/execution/job_run.py as steps: ask, decide, act; the decision is the product's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Ended, Pending, Running, Truth, Unreachable
from everfold.runner.decisions.actions import (
    Action,
    Adopt,
    AskTruth,
    DecisionInputs,
    Done,
    Finish,
    HandOver,
    Postpone,
    RecordLost,
    Retry,
    StartAttempt,
    Stop,
    Wait,
    WatchAttempt,
)
from everfold.runner.decisions.seen_times import SeenTimes
from everfold.runner.execution.attempt_place import place_of
from everfold.runner.execution.job_backend import HAND_OVER_AFTER_S, WEDGED_AFTER_S
from everfold.runner.fleet.backend_state import BackendState
from everfold.runner.fleet.fleet import Reservation
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import Unavailable
from everfold.streams.events.event import Lost, Queued, Released, Retried, Stopping, Succeeded
from tests.simulation.attempt_watch import AttemptWatch
from tests.simulation.job_log import JobLog, LeaseOver
from tests.simulation.job_slot import JobSlot
from tests.simulation.process import REDIS
from tests.simulation.remote import Remote
from tests.simulation.tasks import Cancelled, Nap, Steps, Task, ask
from tests.simulation.unreadable import CannotRead, wait_ms

if TYPE_CHECKING:
    from tests.simulation.runner import Runner


class JobRun:
    """One run of one leased job."""

    def __init__(self, runner: Runner, lease: Lease, reservation: Reservation | None) -> None:
        self.runner, self.lease = runner, lease
        self.is_woken = self.is_releasing = False
        self.slot = JobSlot(runner, reservation)
        self.job_log = self._open_log()
        self.attempt_start = runner.world.parts.attempt_start(self)
        self.attempt_watch: AttemptWatch | None = None
        self._not_understood_since_ms: int | None = None
        self.truth_seen: Truth | None = None
        self.asked_at_ms = self._claimed_ms = 0
        self._leased_ms = runner.agenda.now_ms
        self._seen_alive = False
        self._unsure_to_ms = runner.clock.unsure_to_ms
        self._times = SeenTimes()
        self.task: Task | None = None

    def _open_log(self) -> JobLog:
        return JobLog(self.runner, self.lease)

    @property
    def job(self) -> Job:
        return self.job_log.job

    def wake_up(self) -> None:
        """Set the wake-up flag."""
        self.is_woken = True
        if self.task is not None:
            self.task.wake()

    def lose(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def stop_and_release(self) -> None:
        self.is_releasing = True
        self.lose()

    def run(self) -> Steps[None]:
        try:
            try:
                yield from self.job_log.catch_up()
                self._claimed_ms = self.job.claimed_at_ms
                yield from self._run_steps()
            except Cancelled:
                pass
            if self.task is not None:
                self.task.leave_scope()
            if self.is_releasing:
                yield from self._release(Released(reason="drain"))
        except CannotRead:
            if self.task is not None:
                self.task.leave_scope()
            for_ms = wait_ms(self.runner, self.lease.job_id)
            unreadable = (self.runner.reads, for_ms)
            yield from self._release(Released(reason="cannot_read"), unreadable=unreadable)
        except LeaseOver as over:
            self.runner.note(self.lease.job_id, "is over:", over)
        finally:
            self.runner.leases.remove(self.lease)
            self.slot.release()
            self.runner.forget(self)

    def _run_steps(self) -> Steps[None]:
        while True:
            try:
                if not (yield from self._step()):
                    return
                if self.is_woken:
                    self.is_woken = False
                    yield from self.job_log.catch_up()
            except Unavailable:
                yield 150

    def _step(self) -> Steps[bool]:
        truth, self.truth_seen = self.truth_seen, None
        action = self.decide(truth)
        if isinstance(action, AskTruth):
            action = self.decide((yield from self.truth()))
        self.runner.note(self.lease.job_id, "decides", action)
        return (yield from self._act(action))

    def truth(self) -> Steps[Truth]:
        """Ask the backend; the answer says nothing about any time after the question."""
        self.asked_at_ms = self.now_ms()
        return (yield from self.remote().truth(self.job.prompt_id, self.job.boot))

    def decide(self, truth: Truth | None) -> Action:
        runner, attempt_watch, config = self.runner, self.attempt_watch, self.runner.config
        heard_ms = attempt_watch.last_progress_at_ms if attempt_watch else runner.agenda.now_ms
        silent_s = (runner.agenda.now_ms - heard_ms) / 1000
        state = runner.state_of(self.job.backend) if self.job.backend else None
        if state is not None:
            self._judge_silence(state, truth, silent_s)
        self._seen_alive |= isinstance(truth, Running | Pending)
        return runner.world.parts.decide(
            self._times.view(self.job, self.now_ms()),
            truth,
            DecisionInputs(
                now_ms=self.now_ms(),
                stepped_at_ms=self._unsure_to_ms,
                held_s=(runner.agenda.now_ms - self._leased_ms) / 1000,
                lease_ttl_s=config.lease_ttl_s,
                submit_grace_s=config.submit_grace_s,
                backend_healthy=state is None or state.healthy,
                backend_retired=state is not None and state.is_retired,
                away_s=self._away_s(state, truth),
                reachable_elsewhere=self._may_hand_over(state),
                silent_for_s=silent_s,
                last_send_ms=self.attempt_start.last_send_ms,
                first_absent_ms=self._times.first_absent_ms(self.job, truth, self.now_ms()),
                seen_alive=self._seen_alive,
                lease_trusted=runner.leases.is_trusted(self.lease),
                asked_at_ms=self.asked_at_ms,
            ),
        )

    def _away_s(self, state: BackendState | None, truth: Truth | None) -> float:
        now_ms = self.runner.agenda.now_ms
        if not isinstance(truth, Unreachable):
            if truth is not None:
                self._not_understood_since_ms = None
            return 0.0
        if state is None or not state.reachable:
            return state.away_s if state is not None else 0.0
        if self._not_understood_since_ms is None:
            self._not_understood_since_ms = now_ms
        return (now_ms - self._not_understood_since_ms) / 1000

    def _judge_silence(self, state: BackendState, truth: Truth | None, silent_s: float) -> None:
        if isinstance(truth, Running) and silent_s > WEDGED_AFTER_S:
            state.mark_wedged(self.job.prompt_id)
        elif silent_s < WEDGED_AFTER_S and not self.job.stopping:
            state.clear_wedged(self.job.prompt_id)

    def _may_hand_over(self, state: BackendState | None) -> bool:
        if state is None or state.reachable or not state.is_reached_elsewhere:
            return False
        return self.runner.agenda.now_ms - self._leased_ms > HAND_OVER_AFTER_S * 1000

    def now_ms(self) -> int:
        """Return the server's time, never ahead of it: that of the claim and what went by since.

        What this machine's own clock shows may be anything.
        """
        return self._claimed_ms + self.runner.agenda.now_ms - self._leased_ms

    def _act(self, action: Action) -> Steps[bool]:
        match action:
            case Done() | AskTruth():
                return False
            case Finish(event=event):
                if not isinstance(event, Succeeded) and event.abandoned:
                    yield from self._abandon()
                yield from self.job_log.append(event)
                return False
            case Retry(failure=failure, after_s=after_s):
                due_ms = self.now_ms() + int(after_s * 1000)
                retried = Retried(attempt=self.job.attempt, failure=failure, not_before_ms=due_ms)
                yield from self._release(retried, int(after_s * 1000))
                return False
            case Postpone(after_s=after_s):
                yield from self._release(Released(reason="postponed"), int(after_s * 1000))
                return False
            case HandOver():
                yield from self._release(Released(reason="cannot_reach"))
                return False
            case StartAttempt(attempt=number):
                return (yield from self._start_attempt(number))
        yield from self._act_on_attempt(action)
        return True

    def _act_on_attempt(self, action: Action) -> Steps[None]:
        match action:
            case Adopt():
                job = self.job
                yield from self.job_log.append(Queued(attempt=job.attempt, prompt_id=job.prompt_id))
            case RecordLost(lost=lost):
                yield from self._record_lost(lost)
            case Stop(why=why):
                yield from self._stop(why)
            case Wait(seconds=seconds):
                if not self.is_woken:
                    yield Nap(int(seconds * 1000) + 1)
            case WatchAttempt():
                self.slot.move_to(self.job.backend)
                yield from self.watch(self.attempt_start.attempt(self.job.attempt))

    def _start_attempt(self, number: int) -> Steps[bool]:
        has_room = yield from self.attempt_start.run(number)
        if not has_room:
            yield from self._release(Released(reason="no_room"), 0)
        return has_room

    def may_send(self) -> bool:
        called = self.task is not None and self.task.cancel_called
        return self.runner.leases.is_trusted(self.lease) and not called

    def watch(self, attempt: object) -> Steps[None]:
        self.attempt_watch = AttemptWatch(self)
        self.truth_seen = yield from self.attempt_watch.run()

    def _stop(self, why: str) -> Steps[None]:
        job, config, now = self.job, self.runner.config, self.runner.agenda
        if why not in ("cancel", job.stopping):
            yield from self.job_log.append(Stopping(attempt=job.attempt, why=why))
        yield from self.remote().cancel(self.attempt_start.attempt(job.attempt))
        until_ms = now.now_ms + int(config.truth_every_s * 1000)
        while not isinstance(self.truth_seen, Ended | Absent) and now.now_ms < until_ms:
            yield int(config.truth_while_stopping_s * 1000)
            self.truth_seen = yield from self.truth()

    def _abandon(self) -> Steps[None]:
        job, server = self.job, self.runner.world.server
        state = self.runner.state_of(job.backend)
        if state.reachable:
            state.mark_wedged(job.prompt_id)
        prompt = place_of(job).abandoned(job.job_id, self.now_ms())
        yield from ask(
            REDIS, lambda: server.abandoned.update({job.prompt_id: prompt}), "note_abandoned"
        )

    def _record_lost(self, lost: Lost) -> Steps[None]:
        if lost.abandoned:
            yield from self._abandon()
        self.slot.release()
        self.attempt_watch = None
        yield from self.job_log.append(lost)

    def _release(
        self,
        event: Released | Retried,
        wait_ms: int | None = None,
        unreadable: tuple[str, int] | None = None,
    ) -> Steps[None]:
        """One call; the real one is repeated for some seconds, with the same event id."""
        lease, server = self.lease, self.runner.world.server
        event_id = self.runner.world.new_id()
        self.runner.note(lease.job_id, "releases the lease", event)
        for _ in range(4):
            try:
                yield from ask(
                    REDIS,
                    lambda: server.release(lease, event_id, event, 0, unreadable, wait_ms),
                    "release",
                )
            except Unavailable:
                yield 150
            else:
                return

    def remote(self) -> Remote:
        return self.runner.remotes[self.job.backend]
