"""job_run.py as steps: ask, decide, act, again. The decision is the product's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Ended, Truth
from everfold.runner.decisions.decide import (
    Action,
    Adopt,
    AskTruth,
    Begin,
    DecisionInputs,
    Done,
    Finish,
    Follow,
    GiveUpAttempt,
    Retry,
    Stop,
    Wait,
)
from everfold.runner.execution.fleet import Place
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import Unavailable
from everfold.streams.events.event import Lost, Queued, Released, Retried, Stopping
from tests.simulation.following import AttemptWatch
from tests.simulation.narrating import JobLog, LeaseOver
from tests.simulation.process import REDIS
from tests.simulation.remote import Remote
from tests.simulation.slot_model import Slot
from tests.simulation.tasks import Cancelled, Nap, Steps, Task, ask

if TYPE_CHECKING:
    from tests.simulation.runner_model import Runner


class Carrying:
    """One job in the hands of one runner."""

    def __init__(self, runner: Runner, lease: Lease, place: Place | None) -> None:
        self.runner, self.lease = runner, lease
        self.wanted = self.is_handing_over = False
        self.slot = Slot(runner, place)
        self.job_log = JobLog(runner, lease)
        self.beginning = runner.world.parts.beginning(self)
        self.following: AttemptWatch | None = None
        self.known: Truth | None = None
        self.asked_at_ms = self._claimed_ms = 0
        self._leased_ms = runner.agenda.now_ms
        self.task: Task | None = None

    @property
    def job(self) -> Job:
        return self.job_log.job

    def call(self) -> None:
        """Somebody wants the job looked at again."""
        self.wanted = True
        if self.task is not None:
            self.task.wake()

    def lose(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def hand_over(self) -> None:
        self.is_handing_over = True
        self.lose()

    def run(self) -> Steps[None]:
        try:
            try:
                yield from self.job_log.catch_up()
                self._claimed_ms = self.job.claimed_at_ms
                yield from self._carry_on()
            except Cancelled:
                pass
            if self.task is not None:
                self.task.leave_scope()
            if self.is_handing_over:
                yield from self._give_up_lease(Released(reason="drain"))
        except LeaseOver as over:
            self.runner.note(self.lease.job_id, "is over:", over)
        finally:
            self.runner.leases.remove(self.lease)
            self.slot.leave()
            self.runner.forget(self)

    def _carry_on(self) -> Steps[None]:
        while True:
            try:
                if not (yield from self._step()):
                    return
                if self.wanted:
                    self.wanted = False
                    yield from self.job_log.catch_up()
            except Unavailable:
                yield 150

    def _step(self) -> Steps[bool]:
        truth, self.known = self.known, None
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
        runner, following, config = self.runner, self.following, self.runner.config
        heard_ms = following.heard_at_ms if following else runner.agenda.now_ms
        return runner.world.parts.decide(
            self.job,
            truth,
            DecisionInputs(
                now_ms=self.now_ms(),
                lease_ttl_s=config.lease_ttl_s,
                submit_grace_s=config.submit_grace_s,
                backend_healthy=not self.job.backend or runner.berth(self.job.backend).healthy,
                silent_for_s=(runner.agenda.now_ms - heard_ms) / 1000,
                last_send_ms=self.beginning.last_send_ms,
                lease_trusted=runner.leases.is_trusted(self.lease),
                asked_at_ms=self.asked_at_ms,
            ),
        )

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
                yield from self.job_log.tell(event)
                return False
            case Retry(failure=failure, after_s=after_s):
                due_ms = self.now_ms() + int(after_s * 1000)
                yield from self._give_up_lease(
                    Retried(attempt=self.job.attempt, failure=failure, not_before_ms=due_ms),
                    due_ms,
                )
                return False
            case Begin(attempt=number):
                return (yield from self._begin(number))
        yield from self._act_on_attempt(action)
        return True

    def _act_on_attempt(self, action: Action) -> Steps[None]:
        match action:
            case Adopt():
                job = self.job
                yield from self.job_log.tell(Queued(attempt=job.attempt, prompt_id=job.prompt_id))
            case GiveUpAttempt(lost=lost):
                yield from self._give_up_attempt(lost)
            case Stop(why=why):
                yield from self._stop(why)
            case Wait(seconds=seconds):
                if not self.wanted:
                    yield Nap(int(seconds * 1000) + 1)
            case Follow():
                self.slot.settle_at(self.job.backend)
                yield from self.watch(self.beginning.attempt(self.job.attempt))

    def _begin(self, number: int) -> Steps[bool]:
        has_room = yield from self.beginning.begin(number)
        if not has_room:
            yield from self._give_up_lease(Released(reason="no_room"), self.now_ms())
        return has_room

    def may_go_on(self) -> bool:
        called = self.task is not None and self.task.cancel_called
        return self.runner.leases.is_trusted(self.lease) and not called

    def watch(self, attempt: object) -> Steps[None]:
        self.following = AttemptWatch(self)
        self.known = yield from self.following.run()

    def _stop(self, why: str) -> Steps[None]:
        job, config, now = self.job, self.runner.config, self.runner.agenda
        if why not in ("cancel", job.stopping):
            yield from self.job_log.tell(Stopping(attempt=job.attempt, why=why))
        yield from self.remote().cancel(self.beginning.attempt(job.attempt))
        until_ms = now.now_ms + int(config.truth_every_s * 1000)
        while not isinstance(self.known, Ended | Absent) and now.now_ms < until_ms:
            yield int(config.truth_while_stopping_s * 1000)
            self.known = yield from self.truth()

    def _give_up_attempt(self, lost: Lost) -> Steps[None]:
        self.slot.leave()
        self.following = None
        yield from self.job_log.tell(lost)

    def _give_up_lease(self, event: Released | Retried, due_ms: int = 0) -> Steps[None]:
        """One call; the real one is repeated for some seconds, with the same event id."""
        lease, server = self.lease, self.runner.world.server
        event_id = self.runner.world.new_id()
        self.runner.note(lease.job_id, "gives the lease up", event)
        for _ in range(4):
            try:
                yield from ask(
                    REDIS, lambda: server.release(lease, event_id, event, due_ms), "release"
                )
            except Unavailable:
                yield 150
            else:
                return

    def remote(self) -> Remote:
        return self.runner.remotes[self.job.backend]
