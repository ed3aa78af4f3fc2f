"""Starts an attempt: a slot, the intent in the log, one POST, and the outcome of that.

Rule: nothing is sent before the intent is recorded, nothing is sent twice, and nothing is sent
once the lease is no longer trusted, which is looked at last right before the final byte.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from everfold.runner.backend import (
    Accepted,
    Ambiguous,
    Attempt,
    Backend,
    Observation,
    Rejected,
    SubmitOutcome,
    Unreachable,
    Withheld,
)
from everfold.runner.decisions.attempts import attempt_of
from everfold.runner.execution.fleet import Berth
from everfold.runner.execution.job_log import JobLog
from everfold.runner.execution.lost_log import find_forgotten
from everfold.runner.execution.shared import Shared
from everfold.runner.execution.slot import Slot
from everfold.streams.events.event import Failed, Failure, Lost, Queued, Submitting

SUBMIT_SHIELD_S = 10.0
"""A submit that has begun is brought to its end before a hand-over, if it takes no longer."""

Watch = Callable[[Backend, Attempt, Observation], Awaitable[None]]


class AttemptStart:
    """Begins the attempts of one job run. `may_go_on` says whether the run still holds the job."""

    def __init__(
        self,
        shared: Shared,
        job_log: JobLog,
        slot: Slot,
        may_go_on: Callable[[], bool],
        now_ms: Callable[[], int],
    ) -> None:
        self._shared = shared
        self._job_log = job_log
        self._slot = slot
        self._may_go_on = may_go_on
        self._now_ms = now_ms
        self._submitting = anyio.CancelScope(shield=True)
        self.last_send_ms = 0
        """When the last POST came to its end, 0 before the first."""
        self.graph: bytes | None = None
        """The workflow, once it was needed: the server may lose its copy."""

    async def begin(self, number: int, watch: Watch) -> bool:
        """Begin attempt `number` and watch it; False when no backend has room for it."""
        if await self._adopt_forgotten(number):
            return True
        berth = await self._slot.find(self._shared.config.room_within_s)
        if berth is None:
            return False
        boot = await berth.backend.boot()
        if isinstance(boot, Unreachable):
            self._turn_away_from(berth)
            return True
        graph = await self.workflow()
        if graph is None:
            await self._job_log.append(Failed(attempt=number - 1, failure=_workflow_gone()))
            return True
        attempt = self.attempt(number)
        # The socket first: what is sent while nobody listens is lost.
        async with berth.backend.observe(attempt, graph) as observation:
            if await self._submit(berth, attempt, boot, graph):
                await watch(berth.backend, attempt, observation)
        return True

    def attempt(self, number: int) -> Attempt:
        return attempt_of(self._job_log.lease.job_id, number, self._shared.log.generation)

    async def workflow(self) -> bytes | None:
        if self.graph is None:
            job = self._job_log.job
            self.graph = await self._shared.log.workflow(job.job_id, job.workflow)
        return self.graph

    async def _adopt_forgotten(self, number: int) -> bool:
        """Find an attempt that a server without its newest writes has forgotten; True if so."""
        job = self._job_log.job
        restarted_ms = await self._shared.server.last_restart_ms()
        if not job.rewound and job.submitted_at_ms >= restarted_ms:
            return False
        berth = await find_forgotten(self._shared.fleet, self._shared.log, job.job_id, number)
        boot = await berth.backend.boot() if berth is not None else None
        if berth is None or not isinstance(boot, str):
            return False
        await self._append_intent(berth, self.attempt(number), boot)
        return True

    async def _append_intent(self, berth: Berth, attempt: Attempt, boot: str) -> None:
        await self._job_log.append(
            Submitting(
                attempt=attempt.number,
                backend=berth.backend.name,
                boot=boot,
                prompt_id=attempt.prompt_id,
                client_id=attempt.client_id,
            )
        )

    async def _submit(self, berth: Berth, attempt: Attempt, boot: str, graph: bytes) -> bool:
        """Record the intent, POST once, record what came of it; True when it was accepted."""
        outcome: SubmitOutcome | None = None
        with anyio.CancelScope(shield=True) as self._submitting:
            await self._append_intent(berth, attempt, boot)
            try:
                outcome = await berth.backend.submit(attempt, graph, self._may_go_on)
            finally:
                self.last_send_ms = self._now_ms()
            await self._note(berth, attempt, outcome)
        return isinstance(outcome, Accepted)

    def hurry(self) -> None:
        """The run is to end: a submit that has begun gets a little time to come to its end."""
        self._submitting.deadline = anyio.current_time() + SUBMIT_SHIELD_S

    async def _note(self, berth: Berth, attempt: Attempt, outcome: SubmitOutcome) -> None:
        match outcome:
            case Accepted(number=number, problems=problems):
                await self._job_log.append(
                    Queued(
                        attempt=attempt.number,
                        prompt_id=attempt.prompt_id,
                        number=number,
                        problems=problems,
                    )
                )
            case Rejected(failure=failure):
                await self._job_log.append(Failed(attempt=attempt.number, failure=failure))
            case Withheld():
                self._turn_away_from(berth)
                name = berth.backend.name
                await self._job_log.append(
                    Lost(attempt=attempt.number, backend=name, cause="never_arrived")
                )
            case Ambiguous():
                pass  # the intent stands; the truth will append

    def _turn_away_from(self, berth: Berth) -> None:
        """Send nothing there until it was seen to answer again."""
        berth.reachable = False
        self._slot.leave()


def _workflow_gone() -> Failure:
    return Failure(code="workflow_gone", message="the job's graph is no longer in Redis")
