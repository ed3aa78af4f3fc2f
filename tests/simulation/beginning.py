"""start_attempt.py as steps: a slot, the intent in the log, one POST, and what came of it."""

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
from everfold.runner.execution.fleet import Berth
from everfold.streams.events.event import Failed, Lost, Queued, Submitting
from tests.simulation.tasks import ShieldOver, Steps

if TYPE_CHECKING:
    from tests.simulation.carrying import Carrying

SUBMIT_SHIELD_MS = 10_000
GENERATION = "simulated"


class AttemptStart:
    def __init__(self, carrying: Carrying) -> None:
        self._carrying, self._runner = carrying, carrying.runner
        self.last_send_ms = 0

    def begin(self, number: int) -> Steps[bool]:
        berth = yield from self._carrying.slot.find(self._runner.config.room_within_s)
        if berth is None:
            return False
        boot = yield from self._runner.remotes[berth.backend.name].boot()
        if isinstance(boot, Unreachable):
            self._turn_away_from(berth)
            return True
        attempt = self.attempt(number)
        if (yield from self._submit(berth, attempt, boot)):
            yield from self._carrying.watch(attempt)
        return True

    def attempt(self, number: int) -> Attempt:
        return attempt_of(self._carrying.lease.job_id, number, GENERATION)

    def _submit(self, berth: Berth, attempt: Attempt, boot: str) -> Steps[bool]:
        task = self._carrying.task
        assert task is not None
        task.shield(SUBMIT_SHIELD_MS)
        try:
            yield from self._tell_intent(berth, attempt, boot)
            outcome = yield from self._send(berth, attempt)
            yield from self._note(berth, attempt, outcome)
        except ShieldOver:
            return False
        finally:
            task.unshield()
        return isinstance(outcome, Accepted)

    def _send(self, berth: Berth, attempt: Attempt) -> Steps[SubmitOutcome]:
        remote = self._runner.remotes[berth.backend.name]
        try:
            outcome = yield from remote.submit(attempt, self.may_go_on)
        finally:
            self.last_send_ms = self._carrying.now_ms()
        self._runner.note(attempt.job_id, "POST:", outcome)
        return outcome

    def may_go_on(self) -> bool:
        return self._carrying.may_go_on()

    def _tell_intent(self, berth: Berth, attempt: Attempt, boot: str) -> Steps[None]:
        yield from self._carrying.job_log.tell(
            Submitting(
                attempt=attempt.number,
                backend=berth.backend.name,
                boot=boot,
                prompt_id=attempt.prompt_id,
                client_id=attempt.client_id,
            )
        )

    def _note(self, berth: Berth, attempt: Attempt, outcome: SubmitOutcome) -> Steps[None]:
        tell, number = self._carrying.job_log.tell, attempt.number
        match outcome:
            case Accepted():
                yield from tell(Queued(attempt=number, prompt_id=attempt.prompt_id))
            case Rejected(failure=failure):
                yield from tell(Failed(attempt=number, failure=failure))
            case Withheld():
                self._turn_away_from(berth)
                name = berth.backend.name
                yield from tell(Lost(attempt=number, backend=name, cause="never_arrived"))
            case Ambiguous():
                pass

    def _turn_away_from(self, berth: Berth) -> None:
        berth.reachable = False
        self._carrying.slot.leave()
