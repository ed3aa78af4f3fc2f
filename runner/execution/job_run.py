"""One job in the hands of this runner, from its claim to its end or its hand-over.

Rule: ask, decide, act, again. Every decision is `decide`; every change is told to the log before
or right after it is made, under the lease; a lost lease ends the run at once.
"""

from __future__ import annotations

import time

import anyio

from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Attempt, Backend, Ended, Observation, Truth
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
    decide,
)
from everfold.runner.execution.fleet import Place
from everfold.runner.execution.job_log import JobLog
from everfold.runner.execution.shared import Shared
from everfold.runner.execution.slot import Slot
from everfold.runner.execution.start_attempt import AttemptStart
from everfold.runner.execution.wakeup import Wakeup
from everfold.runner.execution.watch_attempt import AttemptWatch
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import EverfoldError, Unavailable
from everfold.streams.events.event import Failure, Lost, Queued, Released, Retried, Stopping
from everfold.streams.redis.retry import Backoff


class JobRun:
    """Carries one leased job on. `place` is a slot that was reserved for it, if one was."""

    def __init__(self, shared: Shared, lease: Lease, place: Place | None) -> None:
        self._shared = shared
        self._config = shared.config
        self.lease = lease
        self.wakeup = Wakeup()
        self._slot = Slot(shared.fleet, place)
        self._job_log = JobLog(shared.log, lease)
        self._received_s = time.monotonic()
        self._attempt_start = AttemptStart(
            shared, self._job_log, self._slot, self._may_go_on, self._now_ms
        )
        self._scope = anyio.CancelScope()
        self._attempt_watch: AttemptWatch | None = None
        self._known: Truth | None = None
        self._handing_over = False
        self.log_went_back = False
        """The server has forgotten this lease: it came back without its newest writes."""

    @property
    def job(self) -> Job:
        """The job as this run has seen it acknowledged."""
        return self._job_log.job

    @property
    def graph(self) -> bytes | None:
        """The job's workflow, if this run has needed it yet."""
        return self._attempt_start.graph

    def lose(self, current_epoch: int) -> None:
        """Stop at once: the lease is over; the job is at another epoch, -1 for no such job."""
        self.log_went_back = current_epoch < self.lease.epoch
        self._end()

    def hand_over(self) -> None:
        """Stop, and give the lease to whoever takes it next."""
        self._handing_over = True
        self._end()

    async def abandon(self) -> None:
        """Give up a lease that this run, which broke, has let run out and nobody took."""
        await self._give_up_lease(Released(reason="broken"))

    def _end(self) -> None:
        self._attempt_start.hurry()
        self._scope.cancel()

    async def run(self) -> None:
        """Return when the job has ended, waits for its next attempt, or is no longer ours.

        Raises Fenced, JobClosed or JobUnknown when the log refuses this run's events.
        """
        try:
            with self._scope:
                if not self._job_log.knows_the_job:
                    async with self._shared.opening:
                        await self._job_log.catch_up()
                await self._carry_on()
            if self._handing_over:
                await self._give_up_lease(Released(reason="drain"))
        finally:
            self._shared.leases.remove(self.lease)
            self._slot.leave()

    async def _carry_on(self) -> None:
        backoff = Backoff()
        while True:
            try:
                if not await self._step():
                    return
                await self._refresh()
                backoff.reset()
            except Unavailable:
                # The state is the log's, so the step can be decided anew whenever it is back.
                await anyio.sleep(backoff.next_s())

    async def _step(self) -> bool:
        """Decide and act once; False when the run is over."""
        truth, self._known = self._known, None
        action = self._decide(truth)
        if isinstance(action, AskTruth):
            asked_at_ms = self._now_ms()
            truth = await self._backend().truth(self.job.prompt_id, self.job.boot)
            action = self._decide(truth, asked_at_ms)
        return await self._act(action)

    def _decide(self, truth: Truth | None, asked_at_ms: int = 0) -> Action:
        job, following = self.job, self._attempt_watch
        now = DecisionInputs(
            now_ms=self._now_ms(),
            lease_ttl_s=self._config.lease_ttl_s,
            submit_grace_s=self._config.submit_grace_s,
            backend_healthy=not job.backend or self._shared.fleet.berth(job.backend).healthy,
            silent_for_s=anyio.current_time() - following.heard_at_s if following else 0.0,
            last_send_ms=self._attempt_start.last_send_ms,
            lease_trusted=self._shared.leases.is_trusted(self.lease),
            asked_at_ms=asked_at_ms,
        )
        return decide(job, truth, now)

    async def _act(self, action: Action) -> bool:
        match action:
            case Done() | AskTruth():
                return False
            case Finish(event=event):
                await self._job_log.append(event)
                return False
            case Retry(failure=failure, after_s=after_s):
                await self._retry(failure, after_s)
                return False
            case Begin(attempt=number):
                return await self._begin(number)
            case Adopt():
                job = self.job
                await self._job_log.append(Queued(attempt=job.attempt, prompt_id=job.prompt_id))
            case GiveUpAttempt(lost=lost):
                await self._give_up_attempt(lost)
            case Stop(why=why):
                await self._stop(why)
            case Wait(seconds=seconds):
                await self.wakeup.wait(seconds)
            case Follow():
                await self._follow()
        return True

    async def _begin(self, number: int) -> bool:
        has_room = await self._attempt_start.begin(number, self._watch)
        if not has_room:
            await self._give_up_lease(Released(reason="no_room"), wait_until_ms=self._now_ms())
        return has_room

    def _may_go_on(self) -> bool:
        return self._shared.leases.is_trusted(self.lease) and not self._scope.cancel_called

    async def _follow(self) -> None:
        """Watch an attempt that lives at its backend already."""
        self._slot.settle_at(self.job.backend)
        graph = await self._attempt_start.workflow() or b"{}"
        attempt = self._attempt_start.attempt(self.job.attempt)
        async with self._backend().observe(attempt, graph) as observation:
            await self._watch(self._backend(), attempt, observation)

    async def _watch(self, backend: Backend, attempt: Attempt, observation: Observation) -> None:
        self._attempt_watch = AttemptWatch(
            self._config, self._job_log, backend, attempt, self.wakeup
        )
        self._known = await self._attempt_watch.run(observation, self._decide)

    async def _stop(self, why: str) -> None:
        """Ask the backend to end the attempt; its truth will say what came of it."""
        job = self.job
        if why not in ("cancel", job.stopping):
            await self._job_log.append(Stopping(attempt=job.attempt, why=why))
        await self._backend().cancel(self._attempt_start.attempt(job.attempt))
        with anyio.move_on_after(self._config.truth_every_s):
            while not isinstance(self._known, Ended | Absent):
                await anyio.sleep(self._config.truth_while_stopping_s)
                self._known = await self._backend().truth(job.prompt_id, job.boot)

    async def _give_up_attempt(self, lost: Lost) -> None:
        self._slot.leave()
        self._attempt_watch = None
        await self._job_log.append(lost)

    async def _retry(self, failure: Failure, after_s: float) -> None:
        due_ms = self._now_ms() + int(after_s * 1000)
        await self._give_up_lease(
            Retried(attempt=self.job.attempt, failure=failure, not_before_ms=due_ms)
        )

    async def _give_up_lease(self, event: Released | Retried, *, wait_until_ms: int = 0) -> None:
        try:
            await self._shared.dispatch.release(self.lease, event, wait_until_ms=wait_until_ms)
        except EverfoldError:
            return  # it is over already, or it will run out by itself

    async def _refresh(self) -> None:
        """Take in what others have told the log, when somebody set the wake-up flag."""
        if self.wakeup.is_set:
            self.wakeup.clear()
            await self._job_log.catch_up()

    def _now_ms(self) -> int:
        """Return the server's time, or a little less: clocks of machines differ.

        It counts on from the server's time of the claim, which was not after its receipt.
        """
        return self.job.claimed_at_ms + int((time.monotonic() - self._received_s) * 1000)

    def _backend(self) -> Backend:
        return self._shared.fleet.berth(self.job.backend).backend
