"""Runs one leased job until it ends, waits for its next attempt, or its lease is released.

Rule: ask, decide, act, repeat. Every decision is made by `decide`. Every change is appended to the
log, under the lease, before or right after it is made. A lost lease ends the run at once.
"""

from __future__ import annotations

import time
from functools import partial

import anyio

from everfold.projector.job.job import Job
from everfold.runner.backend import (
    Absent,
    Attempt,
    Backend,
    Ended,
    Observation,
    Pending,
    Running,
    Truth,
)
from everfold.runner.decisions.actions import (
    Action,
    Adopt,
    AskTruth,
    DecisionInputs,
    Done,
    Finish,
    HandOver,
    Leave,
    Postpone,
    RecordLost,
    Retry,
    StartAttempt,
    Stop,
    Wait,
    WatchAttempt,
)
from everfold.runner.decisions.decide import decide
from everfold.runner.decisions.seen_times import SeenTimes
from everfold.runner.execution.attempt_start import AttemptStart
from everfold.runner.execution.attempt_watch import AttemptWatch
from everfold.runner.execution.job_backend import JobBackend, JobSlot, has_place
from everfold.runner.execution.job_ending import JobEnding
from everfold.runner.execution.job_log import JobLog, ToldByAnother
from everfold.runner.execution.known_submit import KnownSubmit
from everfold.runner.execution.shared import Shared
from everfold.runner.execution.unreadable_job import (
    UNREADABLE_WAIT_S,
    abandon,
    poisoned,
    read_remains,
)
from everfold.runner.execution.wakeup import Wakeup
from everfold.runner.fleet.fleet import Reservation
from everfold.runner.telemetry.job_lines import JobLines
from everfold.streams.appending.outcomes import Lease
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import OUTAGES, CorruptLog
from everfold.streams.events.event import (
    Failure,
    Lost,
    Queued,
    Released,
    Retried,
    Stopping,
    Succeeded,
    Terminal,
)
from everfold.streams.events.limits import REASON_LIMIT
from everfold.streams.leases.backends import forget_given_up
from everfold.streams.redis.retry import Backoff

logger = get_logger("everfold.runner")

LOOKED_AT_LEAST_S, LOOKED_AT_MOST_S = 1.0, 30.0
LOOKED_AT_SHARE = 0.1
"""A job that no backend of its runner can run is looked at again after this share of its age."""


class JobRun:
    """One run of one leased job, which owns `reservation`: the slot reserved for it, if any."""

    def __init__(self, shared: Shared, lease: Lease, reservation: Reservation | None) -> None:
        self._shared = shared
        self._config = shared.config
        self.lease = lease
        self.wakeup = Wakeup()
        self._slot = JobSlot(shared.fleet, reservation)
        self._backend = JobBackend(shared.fleet)
        self._lines = JobLines(shared.config.name, self._backend.shown)
        self._leased_at_s = steady_s()
        self._job_log = JobLog(
            shared.log, shared.dispatch, lease, self._lines, shared.spans,
            now_ms=self._now_ms, on_refused=self.wakeup.set,
        )  # fmt: skip
        self._unsure_to_ms = shared.dispatch.clock.unsure_to_ms
        """Times of the log up to this one may be from before the server's clock was set."""
        self._times = SeenTimes()
        self._until = partial(self.wakeup.until, look=self._refresh)
        self._attempt_start = AttemptStart(
            shared, self._job_log, self._slot, self._may_send, self._now_ms, self._until_unwanted
        )
        self._ending = JobEnding(
            shared, self._job_log, self._slot, self._attempt_start, self._until
        )
        self._scope = anyio.CancelScope()
        self._attempt_watch: AttemptWatch | None = None
        self._truth: Truth | None = None
        """What the last watch or stop learned; used up by the next decision."""
        self._seen_alive = False
        self._is_releasing = False
        self.has_lost_writes = False
        """The server has forgotten this lease: it came back without its newest writes."""

    @property
    def job(self) -> Job:
        """The newest state of the job, by all that this run has sent to the log."""
        return self._job_log.job

    @property
    def acknowledged(self) -> Job:
        """The newest state of the job that the log has acknowledged to this run."""
        return self._job_log.acknowledged

    @property
    def submitted(self) -> KnownSubmit | None:
        """The submit of the job, to be repeated; None when this run has not read it."""
        return self._attempt_start.submitted

    def lose(self, current_epoch: int) -> None:
        """Stop at once: the lease is over. `current_epoch` is the job's, -1 when it is unknown."""
        self.has_lost_writes = current_epoch < self.lease.epoch
        self._stop_soon()

    def stop_and_release(self) -> None:
        """Stop at once, then release the lease, so that another runner takes the job."""
        self._is_releasing = True
        self._stop_soon()

    async def release_broken(self) -> None:
        """Release the lease of a run that failed: it ran out and no other runner took the job."""
        await self._job_log.release(Released(reason="broken"))

    def _stop_soon(self) -> None:
        self._attempt_start.limit_submit_time()
        self._scope.cancel()

    async def run(self) -> None:
        """Return when the job has ended, waits for its next attempt, or was released.

        Raises Fenced, JobClosed or JobUnknown when the log refuses this run's events. In every
        case the slot is free and the lease is no longer renewed.
        """
        try:
            with self._scope:
                if not self._job_log.is_current:
                    async with self._shared.job_reads:
                        await self._job_log.catch_up()
                self._lines.began(self.job, self._slot.backend, self.lease.previous_owner)
                if not await self._release_locked():
                    await self._run_steps()
            if self._is_releasing:
                await self._job_log.release(Released(reason="drain"))
        except CorruptLog as error:
            logger.warning("job_unreadable job=%s why=%r", self.lease.job_id, str(error))
            await self._leave_unreadable()
        finally:
            self._shared.leases.remove(self.lease)
            self._shared.live.forget(self.lease.job_id)
            self._slot.release()

    async def _leave_unreadable(self) -> None:
        """Send nothing: the job's state is not known. Leave it to a runner that can read it."""
        log, job_id, wait_s = self._shared.log, self.lease.job_id, UNREADABLE_WAIT_S
        try:
            remains = await read_remains(log, job_id)
            wait_s = remains.wait_s
            if (end := poisoned(remains)) is not None:
                await abandon(log, job_id, remains)
                await log.append(job_id, end, epoch=self.lease.epoch, holder=self.lease.runner)
                logger.warning("job_unreadable_ended job=%s as=%s", job_id, "failed")
                return
        except (*OUTAGES, CorruptLog):
            pass  # the lease is released, or runs out by itself
        await self._job_log.release(Released(reason="cannot_read"), unreadable_for_s=wait_s)

    async def _run_steps(self) -> None:
        backoff = Backoff()
        while True:
            try:
                if not await self._step():
                    return
                await self._refresh()
                backoff.reset()
            except ToldByAnother:
                continue
            except OUTAGES:
                # The state comes from the log, so the step can be decided anew at any time.
                await anyio.sleep(backoff.next_s())

    async def _step(self) -> bool:
        """Decide and act once; return False when the run is over."""
        truth, self._truth = self._truth, None
        action = self._decide(truth)
        if isinstance(action, AskTruth):
            asked_at_ms = self._now_ms()
            action = self._decide(await self._backend.truth(self.job), asked_at_ms)
        return await self._act(action)

    def _decide(self, truth: Truth | None, asked_at_ms: int = 0) -> Action:
        job, now = self._inputs(truth, asked_at_ms)
        return decide(job, truth, now)

    def _inputs(self, truth: Truth | None, asked_at_ms: int = 0) -> tuple[Job, DecisionInputs]:
        """Return the job as it is decided by, and what is known besides."""
        watch, fleet, now_ms = self._attempt_watch, self._shared.fleet, self._now_ms()
        job = self._times.view(self.job, now_ms)
        state = self._backend.state(job) if has_place(job) else None
        self._seen_alive |= isinstance(truth, Running | Pending)
        silent_for_s = time.monotonic() - watch.last_progress_at_s if watch else 0.0
        if state is not None:
            self._backend.judge_silence(job, truth, silent_for_s)
        return job, DecisionInputs(
            now_ms=now_ms,
            lease_ttl_s=self._config.lease_ttl_s,
            submit_grace_s=self._config.submit_grace_s,
            backend_healthy=state is None or state.healthy,
            backend_retired=state is not None and state.is_retired,
            away_s=self._backend.away_s(job, truth) if state is not None else 0.0,
            reachable_elsewhere=bool(self._better_runner(job)),
            refused_everywhere=bool(job.refused_by) and fleet.refuse_all(job.refused_by),
            seen_alive=self._seen_alive,
            given_up=fleet.given_up.get(job.job_id, 0),
            silent_for_s=silent_for_s,
            turned_away=self._attempt_start.was_turned_away,
            socket_heard=watch is not None and watch.socket_heard,
            saw_success=watch is not None and watch.saw_success(job.attempt),
            last_send_ms=self._attempt_start.last_send_ms,
            first_absent_ms=self._times.first_absent_ms(job, truth, now_ms),
            lease_trusted=self._shared.leases.is_trusted(self.lease),
            asked_at_ms=asked_at_ms,
            stepped_at_ms=self._unsure_to_ms,
            held_s=self._held_s(),
        )

    async def _act(self, action: Action) -> bool:
        match action:
            case Done() | AskTruth():
                return False
            case Finish(event=event):
                return await self._finish(event)
            case Retry(failure=failure, after_s=after_s):
                await self._retry(failure, after_s)
                return False
            case Postpone(after_s=after_s, why=why):
                await self._job_log.release(Released(reason="postponed", why=why), wait_s=after_s)
                return False
            case Leave(why=why):
                await self._release_waiting(why)
                return False
            case HandOver():
                to = self._better_runner(self.job)
                await self._job_log.release(Released(reason="cannot_reach"), to=to)
                return False
            case StartAttempt(attempt=number):
                return await self._start_attempt(number)
            case Adopt():
                job = self.job
                await self._job_log.append(Queued(attempt=job.attempt, prompt_id=job.prompt_id))
            case RecordLost(lost=lost):
                await self._record_lost(lost)
            case Stop(why=why):
                await self._stop(why)
            case Wait(seconds=seconds):
                await self.wakeup.wait(seconds)
            case WatchAttempt():
                await self._watch_again()
        return True

    async def _finish(self, event: Terminal) -> bool:
        """Store the files of the outputs, then append the event; return False when that is all."""
        action = await self._ending.prepare(event, self._attempt_watch, self._inputs)
        if not isinstance(action, Finish):
            return await self._act(action)
        event = action.event
        if not isinstance(event, Succeeded) and event.abandoned:
            await self._backend.abandon(self._shared.log, self.job, self._now_ms())
        await self._job_log.append(event)
        if isinstance(event, Succeeded) and not event.outputs_reused and has_place(self.job):
            self._backend.note_run(self.job, event)
        return False

    async def _start_attempt(self, number: int) -> bool:
        has_room = await self._attempt_start.run(number, partial(self._watch, is_new=True))
        if not has_room:
            await self._release_waiting(self._attempt_start.why_none)
        return has_room

    async def _release_waiting(self, why: str) -> None:
        """Release a job that found no room here, or that this runner cannot run, and `why`."""
        event = Released(reason="no_room")
        if why:
            event = Released(reason="cannot_run", why=why[:REASON_LIMIT])
        elif not self.job.refused_by:
            await self._job_log.release(event, wait_s=0.0)
            return
        waited_s = (self._now_ms() - self.job.submitted_at_ms) / 1000
        # Each round adds to the log: one that has waited for long can wait a little longer.
        wait_s = min(max(waited_s * LOOKED_AT_SHARE, LOOKED_AT_LEAST_S), LOOKED_AT_MOST_S)
        await self._job_log.release(event, wait_s=wait_s)

    async def _release_locked(self) -> bool:
        """Release the job if it is sealed and cannot be read here: its outputs would be plain."""
        self._attempt_start.why_none = why = await self._job_log.why_locked()
        if why and self.job.may_be_alive:
            await anyio.sleep(LOOKED_AT_LEAST_S)  # it must not go from one to the next in a hurry
            await self._job_log.release(Released(reason="cannot_run", why=why))
        elif why:
            await self._release_waiting(why)
        return bool(why)

    def _may_send(self) -> bool:
        return self._shared.leases.is_trusted(self.lease) and not self._scope.cancel_called

    async def _until_unwanted(self) -> None:
        """Return once no attempt is to be begun: the job was canceled, or its time is over."""
        await self._until(lambda: not isinstance(self._decide(None), StartAttempt | Wait))

    async def _watch_again(self) -> None:
        """Watch an attempt that this call did not start: it lives at its backend already."""
        self._slot.move_to(self.job.backend, self.job.server)
        found = await self._attempt_start.load_input()
        workflow = b"{}" if isinstance(found, Failure) else found.workflow
        attempt = await self._attempt_start.observed_attempt(self.job.attempt)
        backend = self._backend.backend(self.job)
        async with self._shared.live.observing(backend, attempt, workflow) as observation:
            await self._watch(backend, attempt, observation)

    async def _watch(
        self, backend: Backend, attempt: Attempt, observation: Observation, *, is_new: bool = False
    ) -> None:
        self._attempt_watch = AttemptWatch(
            self._config, self._job_log, backend, attempt, self.wakeup, self._shared.live,
            earlier=self._attempt_watch, on_end=self._ending.free_slot,
        )  # fmt: skip
        self._truth = await self._attempt_watch.run(observation, self._decide, is_new=is_new)
        self._attempt_start.learn(self._attempt_watch.node_costs)

    async def _stop(self, why: str) -> None:
        """Ask the backend to end the attempt, and wait for its truth for a while."""
        job = self.job
        if why not in ("cancel", job.stopping):
            await self._job_log.append(Stopping(attempt=job.attempt, why=why))
        await self._backend.stop(job, self._job_log.attempt(job.attempt))
        with anyio.move_on_after(self._config.truth_every_s):
            while not isinstance(self._truth, Ended | Absent):
                await anyio.sleep(self._config.truth_while_stopping_s)
                self._truth = await self._backend.truth(job)

    async def _record_lost(self, lost: Lost) -> None:
        if lost.abandoned:
            await self._backend.abandon(self._shared.log, self.job, self._now_ms())
        self._slot.release()
        self._attempt_watch = None
        await self._job_log.append(lost)
        if lost.cause == "given_up":
            self._shared.fleet.given_up.pop(self.job.job_id, None)
            await forget_given_up(self._shared.log, self.job.job_id)

    async def _retry(self, failure: Failure, after_s: float) -> None:
        due_ms = self._now_ms() + int(after_s * 1000)
        failure = await self._job_log.redacted(failure)
        event = Retried(attempt=self.job.attempt, failure=failure, not_before_ms=due_ms)
        await self._job_log.release(event, wait_s=after_s)

    async def _refresh(self) -> None:
        """Read what others have appended, if the wake-up flag is set, and clear it."""
        if self.wakeup.is_set:
            self.wakeup.clear()
            await self._job_log.refresh()

    def _now_ms(self) -> int:
        """Return the server's time, or a little less, whatever clock was set since: its time of the
        claim plus what has elapsed since the claim's answer came."""
        return self.job.claimed_at_ms + int(self._held_s() * 1000)

    def _better_runner(self, job: Job) -> str:
        """Return the runner that is to have the job, because it reaches its backend; or empty."""
        return self._backend.better_runner(job, self._config.name) if has_place(job) else ""

    def _held_s(self) -> float:
        return steady_s() - self._leased_at_s
