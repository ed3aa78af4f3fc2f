"""Models broken on purpose, one rule each: a checker that cannot fail proves nothing.

Rule: each breakage is a plausible mistake and replaces one part of the model.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.runner.backend import (
    Absent,
    Ambiguous,
    Attempt,
    Pending,
    Running,
    SubmitOutcome,
    Truth,
    Unreachable,
)
from everfold.runner.decisions.actions import Action, DecisionInputs, Finish
from everfold.runner.decisions.attempts import attempt_of
from everfold.runner.decisions.decide import decide
from everfold.runner.fleet.backend_state import BackendState
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.event import Canceled
from tests.simulation.attempt_start import GENERATION, AttemptStart
from tests.simulation.faults import Weather
from tests.simulation.head import Head
from tests.simulation.heartbeat import Heartbeat
from tests.simulation.job_log import JobLog
from tests.simulation.job_run import JobRun
from tests.simulation.lease_renewer import LeaseRenewer
from tests.simulation.remote import Remote
from tests.simulation.runner import Runner
from tests.simulation.server import Server
from tests.simulation.tasks import ShieldOver, Steps, ask
from tests.simulation.unreadable import seen_by
from tests.simulation.world import Options, Parts


class RenewsWithoutCompare(Server):
    def _may_renew(self, head: Head, lease: Lease, runner: str) -> bool:
        return True


class AppendsWithoutFence(Server):
    def _is_held(self, head: Head, epoch: int, holder: str) -> bool:
        return True


class ComparesEpochsOnlyBeforeTheFirstLease(Server):
    def _next_epoch(self, head: Head) -> int:
        return max(1, head.epoch)


class EndsWithoutLeavingDispatch(Server):
    def _close(self, job_id: str, head: Head, status: str) -> None:
        head.status, head.phase = status, "closed"


class ForgetsEventIds(Server):
    def _known(self, head: Head, event_id: str) -> tuple[int, str] | None:
        return None


class RetriesWithoutLater(Server):
    def _give_up(self, job_id: str, head: Head, due_ms: int) -> None:
        super()._give_up(job_id, head, due_ms)
        self.later.pop(job_id, None)


def without_grace(job: Job, truth: Truth | None, now: DecisionInputs) -> Action:
    return decide(job, truth, replace(now, submit_grace_s=0.0, lease_ttl_s=0.0))


def without_rest_of_lease(job: Job, truth: Truth | None, now: DecisionInputs) -> Action:
    return decide(job, truth, replace(now, lease_ttl_s=0.0))


def by_the_time_of_the_answer(job: Job, truth: Truth | None, now: DecisionInputs) -> Action:
    # Waiting from the first absence on would nearly always hide it.
    return decide(job, truth, replace(now, asked_at_ms=0, first_absent_ms=0))


def without_first_absence(job: Job, truth: Truth | None, now: DecisionInputs) -> Action:
    return decide(job, truth, replace(now, first_absent_ms=0))


def unreachable_is_lost(job: Job, truth: Truth | None, now: DecisionInputs) -> Action:
    lost = Absent(same_boot=False)
    return decide(job, lost if isinstance(truth, Unreachable) else truth, now)


def canceled_without_looking(job: Job, truth: Truth | None, now: DecisionInputs) -> Action:
    if job.is_canceling:
        return Finish(Canceled(reason=job.reason, attempt=job.attempt))
    return decide(job, truth, now)


def intent_is_acceptance(job: Job, truth: Truth | None, now: DecisionInputs) -> Action:
    if job.attempt_state == "intended":
        job = replace(job, attempt_state="accepted")
    return decide(job, truth, now)


class LooksAtHistoryFirst(Remote):
    def truth(self, prompt_id: str, boot: str) -> Steps[Truth]:
        rest = yield from self._rest(prompt_id, boot)
        if not isinstance(rest, Absent):
            return rest
        queue: Running | Pending | Unreachable | None = yield from self._queue(prompt_id)
        return queue or rest


class SendsUntrusted(Remote):
    def submit(self, attempt: Attempt, may_send: Callable[[], bool]) -> Steps[SubmitOutcome]:
        return (yield from super().submit(attempt, lambda: True))


class InterruptsWhoeverRuns(Remote):
    def cancel(self, attempt: Attempt) -> Steps[None]:
        comfyui = self._comfyui
        yield from ask(self.name, lambda: comfyui.delete(attempt.prompt_id), "delete")
        yield from ask(self.name, lambda: comfyui.interrupt(comfyui.queue()[0]), "interrupt")


class SendsBeforeTheIntent(AttemptStart):
    def _submit(self, state: BackendState, attempt: Attempt, boot: str) -> Steps[bool]:
        yield from self._send(state, attempt)
        yield from self._append_intent(state, attempt, boot)
        return False


class SendsTwice(AttemptStart):
    """Tries again, under the same id, when the answer was lost."""

    def _send(self, state: BackendState, attempt: Attempt) -> Steps[SubmitOutcome]:
        outcome = yield from super()._send(state, attempt)
        if isinstance(outcome, Ambiguous):
            outcome = yield from super()._send(state, attempt)
        return outcome


class NumbersNoAttempts(AttemptStart):
    def attempt(self, number: int) -> Attempt:
        return attempt_of(self._run.lease.job_id, 1, GENERATION)


class ForgetsItsLastSend(AttemptStart):
    """Answers that are lost leave no trace of when the POST came to its end."""

    def _send(self, state: BackendState, attempt: Attempt) -> Steps[SubmitOutcome]:
        outcome = yield from super()._send(state, attempt)
        self.last_send_ms = 0
        return outcome


class StopsWaitingForItsOwnSubmit(AttemptStart):
    """The time limit of a submit counts from its beginning; the run goes on without it."""

    def _submit(self, state: BackendState, attempt: Attempt, boot: str) -> Steps[bool]:
        task = self._run.task
        assert task is not None
        task.limits_shields = True
        return (yield from super()._submit(state, attempt, boot))

    def _send(self, state: BackendState, attempt: Attempt) -> Steps[SubmitOutcome]:
        before_ms = self.last_send_ms
        try:
            return (yield from super()._send(state, attempt))
        except ShieldOver:
            self.last_send_ms = before_ms
            raise


def without_the_clock(job: Job, truth: Truth | None, now: DecisionInputs) -> Action:
    """Every bound waits for the backend to end the attempt."""
    long_s = 1e9
    policy = replace(job.policy, stop_within_s=long_s)
    return decide(replace(job, policy=policy), truth, now)


class NeverTellsOfBackends(Heartbeat):
    def beating(self) -> Steps[None]:
        yield 0


class LeavesWhatWasGivenUp(Heartbeat):
    def _stop_abandoned(self) -> Steps[None]:
        yield 0


class ForgetsWhatItGaveUp(JobRun):
    def _abandon(self) -> Steps[None]:
        yield 0


class BelievesItsOwnClock(JobRun):
    def now_ms(self) -> int:
        return self.runner.wall_ms()


class TrustsForEver(LeaseRenewer):
    def is_trusted(self, lease: Lease) -> bool:
        return True


class ClaimsWhatItCannotRead(Server):
    def _is_blocked(self, head: Head, reads: str) -> bool:
        return False


class TakesAnOldStateForThePresentOne(JobRun):
    def _open_log(self) -> JobLog:
        return StopsBeforeWhatItCannotRead(self.runner, self.lease)


class StopsBeforeWhatItCannotRead(JobLog):
    def _read(self, job_id: str) -> Job:
        return fold(seen_by(self._server, self._runner.reads, job_id))


def never_sweeping(runner: Runner) -> Steps[None]:
    yield 0


def never_adopting(runner: Runner) -> Steps[None]:
    yield 0


LOSSY = Weather(lost_reply=0.4)
STALLING = Weather(
    kinds=("block", "freeze"), per_job_step=0.1, per_actor_step=0.002, slow=0.5, late_post=0.7
)
UPGRADING = Weather(
    kinds=("strange", "strange", "kill", "drain", "freeze", "cancel"),
    per_job_step=0.1,
    per_actor_step=0.004,
)
GONE = Weather(kinds=("go_away", "wedge", "cancel"), per_job_step=0.1, per_actor_step=0.001)
CUT_OFF = Weather(kinds=("cut_redis",), per_job_step=0.15, per_actor_step=0.001, late_post=1.0)


LEFT_RUNNING = Options(
    weather=Weather(kinds=("go_away",), per_job_step=0.1, per_actor_step=0.001),
    run_ms=(900, 900, 250_000),
    jobs=1,
)
"""Prompts that still run when their backend is seen again."""


def broken(weather: Weather | None = None, runners: int = 0, **part: object) -> Options:
    return Options(parts=Parts(**part), weather=weather, runners=runners)  # type: ignore[arg-type]


BREAKAGES: dict[str, Options] = {
    "renew without compare": broken(server=RenewsWithoutCompare),
    "append without fence": broken(server=AppendsWithoutFence),
    "take-over without a new epoch": broken(server=ComparesEpochsOnlyBeforeTheFirstLease),
    "end without leaving dispatch": broken(server=EndsWithoutLeavingDispatch),
    "no memory of event ids": broken(server=ForgetsEventIds),
    "retry without later": broken(server=RetriesWithoutLater),
    "no grace for unconfirmed submits": broken(decide=without_grace),
    "no wait for the rest of a lease": broken(CUT_OFF, decide=without_rest_of_lease),
    "truth by the time of its answer": broken(STALLING, decide=by_the_time_of_the_answer),
    "unreachable is lost": broken(decide=unreachable_is_lost),
    "canceled without looking": broken(decide=canceled_without_looking),
    "intent is acceptance": broken(decide=intent_is_acceptance),
    "history before queue": broken(remote=LooksAtHistoryFirst),
    "send without a last look at the lease": broken(CUT_OFF, remote=SendsUntrusted),
    "global interrupt": broken(remote=InterruptsWhoeverRuns),
    "send before the intent": broken(attempt_start=SendsBeforeTheIntent),
    "send again when the answer was lost": broken(attempt_start=SendsTwice),
    "the same prompt id for every attempt": broken(attempt_start=NumbersNoAttempts),
    "no memory of the last send": broken(
        attempt_start=ForgetsItsLastSend, decide=without_first_absence
    ),
    "submit left behind by its own time limit": broken(
        STALLING, attempt_start=StopsWaitingForItsOwnSubmit
    ),
    "grace by the runner's own clock": broken(CUT_OFF, job_run=BelievesItsOwnClock),
    "a bound waits for the backend": broken(GONE, decide=without_the_clock),
    "nobody tells of backends": broken(GONE, heartbeat=NeverTellsOfBackends),
    "what was given up is left alone": replace(
        LEFT_RUNNING, parts=Parts(heartbeat=LeavesWhatWasGivenUp)
    ),
    "what was given up is not noted": replace(
        LEFT_RUNNING, parts=Parts(job_run=ForgetsWhatItGaveUp)
    ),
    "an old state taken for the present one": broken(
        UPGRADING, job_run=TakesAnOldStateForThePresentOne
    ),
    "claimed again by one that cannot read it": broken(UPGRADING, server=ClaimsWhatItCannotRead),
    "trust for ever": broken(CUT_OFF, lease_renewer=TrustsForEver),
    "no sweep": broken(sweeping=never_sweeping),
    "one lease begun twice": broken(STALLING, is_known_lease=lambda earlier, lease: False),
    "no search for leases of lost answers": broken(LOSSY, 1, adopting=never_adopting),
}
