"""runner/execution/attempt_start.py as steps: a slot, the intent, one POST, and its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everfold.runner.backend import (
    Accepted,
    Ambiguous,
    Attempt,
    Rejected,
    SubmitOutcome,
    Unreachable,
    Withheld,
)
from everfold.runner.decisions.attempts import attempt_of
from everfold.runner.fleet.backend_state import BackendState
from everfold.streams.events.event import Failed, Lost, Queued, Submitting
from tests.simulation.tasks import ShieldOver, Steps

if TYPE_CHECKING:
    from tests.simulation.job_run import JobRun

SUBMIT_SHIELD_MS = 10_000
GENERATION = "simulated"


class AttemptStart:
    def __init__(self, job_run: JobRun) -> None:
        self._run, self._runner = job_run, job_run.runner
        self.last_send_ms = 0

    def run(self, number: int) -> Steps[bool]:
        state = yield from self._run.slot.reserve(self._runner.config.room_within_s)
        if state is None:
            return False
        boot = yield from self._runner.remotes[state.backend.name].boot()
        if isinstance(boot, Unreachable):
            self._avoid(state)
            return True
        attempt = self.attempt(number)
        if (yield from self._submit(state, attempt, boot)):
            yield from self._run.watch(attempt)
        return True

    def attempt(self, number: int) -> Attempt:
        return attempt_of(self._run.lease.job_id, number, GENERATION)

    def _submit(self, state: BackendState, attempt: Attempt, boot: str) -> Steps[bool]:
        task = self._run.task
        assert task is not None
        task.shield(SUBMIT_SHIELD_MS)
        try:
            yield from self._append_intent(state, attempt, boot)
            outcome = yield from self._send(state, attempt)
            yield from self._append_outcome(state, attempt, outcome)
        except ShieldOver:
            return False
        finally:
            task.unshield()
        return isinstance(outcome, Accepted)

    def _send(self, state: BackendState, attempt: Attempt) -> Steps[SubmitOutcome]:
        remote = self._runner.remotes[state.backend.name]
        try:
            outcome = yield from remote.submit(attempt, self.may_send)
        finally:
            self.last_send_ms = self._run.now_ms()
        self._runner.note(attempt.job_id, "POST:", outcome)
        return outcome

    def may_send(self) -> bool:
        return self._run.may_send()

    def _append_intent(self, state: BackendState, attempt: Attempt, boot: str) -> Steps[None]:
        yield from self._run.job_log.append(
            Submitting(
                attempt=attempt.number,
                backend=state.backend.name,
                boot=boot,
                prompt_id=attempt.prompt_id,
                client_id=attempt.client_id,
            )
        )

    def _append_outcome(
        self, state: BackendState, attempt: Attempt, outcome: SubmitOutcome
    ) -> Steps[None]:
        append, number = self._run.job_log.append, attempt.number
        match outcome:
            case Accepted():
                yield from append(Queued(attempt=number, prompt_id=attempt.prompt_id))
            case Rejected(failure=failure):
                yield from append(Failed(attempt=number, failure=failure))
            case Withheld():
                self._avoid(state)
                name = state.backend.name
                yield from append(Lost(attempt=number, backend=name, cause="never_arrived"))
            case Ambiguous():
                pass

    def _avoid(self, state: BackendState) -> None:
        state.reachable = False
        self._run.slot.release()
