"""One job in the hands of this runner, from its claim to its end or its hand-over.

Rule: ask, decide, act, again. Every decision is `decide`; every change is told to the log before
or right after it is made, under the lease; a lost lease ends the run at once.
"""

from __future__ import annotations

import time

import anyio

from runner.attempts import attempt_of
from runner.attention import Attention
from runner.backend import (
    Absent,
    Accepted,
    Ambiguous,
    Attempt,
    Backend,
    Ended,
    Observation,
    Rejected,
    SubmitOutcome,
    Truth,
    Unreachable,
    Withheld,
)
from runner.decide import (
    Action,
    Adopt,
    AskTruth,
    Begin,
    Circumstances,
    Done,
    Finish,
    Follow,
    GiveUpAttempt,
    Retry,
    Stop,
    Wait,
    decide,
)
from runner.fleet import Berth, Place
from runner.follow import Following
from runner.narrator import Narrator
from runner.slot import Slot
from runner.surroundings import Surroundings
from streams.errors import EverfoldError
from streams.events import Failed, Failure, Lost, Queued, Released, Retried, Submitting
from streams.outcomes import Lease

SUBMIT_SHIELD_S = 10.0
"""A submit that has begun is brought to its end before a hand-over, if it takes no longer."""


class JobRun:
    """Carries one leased job on. `place` is a slot that was reserved for it, if one was."""

    def __init__(self, around: Surroundings, lease: Lease, place: Place | None) -> None:
        self._around = around
        self._config = around.config
        self.lease = lease
        self.attention = Attention()
        self._slot = Slot(around.fleet, place)
        self._narrator = Narrator(around.log, lease)
        self._scope = anyio.CancelScope()
        self._following: Following | None = None
        self._known: Truth | None = None
        self._stopped_for = ""
        self._last_send_ms = 0
        self._handing_over = False

    def lose(self) -> None:
        """Stop at once: the lease is over."""
        self._scope.cancel()

    def hand_over(self) -> None:
        """Stop, and give the lease to whoever takes it next."""
        self._handing_over = True
        self._scope.cancel()

    async def run(self) -> None:
        """Return when the job has ended, waits for its next attempt, or is no longer ours.

        Raises Fenced or JobClosed when the log refuses this run's events.
        """
        try:
            with self._scope:
                async with self._around.opening:
                    await self._narrator.catch_up()
                while await self._step():
                    await self._refresh()
            if self._handing_over:
                await self._give_up_lease(Released(reason="drain"))
        finally:
            self._around.leases.remove(self.lease)
            self._slot.leave()

    async def _step(self) -> bool:
        """Decide and act once; False when the run is over."""
        truth, self._known = self._known, None
        action = self._decide(truth)
        if isinstance(action, AskTruth):
            job = self._narrator.job
            action = self._decide(await self._backend().truth(job.prompt_id, job.boot))
        return await self._act(action)

    def _decide(self, truth: Truth | None) -> Action:
        job, following = self._narrator.job, self._following
        now = Circumstances(
            now_ms=_now_ms(),
            lease_ttl_s=self._config.lease_ttl_s,
            submit_grace_s=self._config.submit_grace_s,
            backend_healthy=not job.backend or self._around.fleet.berth(job.backend).healthy,
            silent_for_s=anyio.current_time() - following.heard_at_s if following else 0.0,
            stopped_for=self._stopped_for,
            last_send_ms=self._last_send_ms,
        )
        return decide(job, truth, now)

    async def _act(self, action: Action) -> bool:
        match action:
            case Done() | AskTruth():
                return False
            case Finish(event=event):
                await self._narrator.tell(event)
                return False
            case Retry(failure=failure, after_s=after_s):
                await self._retry(failure, after_s)
                return False
            case Begin(attempt=number):
                return await self._begin(number)
            case Adopt():
                job = self._narrator.job
                await self._narrator.tell(Queued(attempt=job.attempt, prompt_id=job.prompt_id))
            case GiveUpAttempt(lost=lost):
                await self._give_up_attempt(lost)
            case Stop(why=why):
                await self._stop(why)
            case Wait(seconds=seconds):
                await self.attention.wait(seconds)
            case Follow():
                await self._follow()
        return True

    async def _begin(self, number: int) -> bool:
        """Submit attempt `number`; False when there is no room and the job went back to wait."""
        berth = await self._slot.find(self._config.room_within_s)
        if berth is None:
            await self._give_up_lease(Released(reason="no_room"), wait_until_ms=_now_ms())
            return False
        boot = await berth.backend.boot()
        if isinstance(boot, Unreachable):
            self._turn_away_from(berth)
            return True
        job = self._narrator.job
        graph = await self._around.log.workflow(job.job_id, job.workflow)
        if graph is None:
            await self._narrator.tell(Failed(attempt=number - 1, failure=_workflow_gone()))
            return False
        attempt = self._attempt(number)
        # The socket first: what is sent while nobody listens is lost.
        async with berth.backend.observe(attempt, graph) as observation:
            if await self._submit(berth, attempt, boot, graph):
                await self._watch(berth.backend, attempt, observation)
        return True

    async def _submit(self, berth: Berth, attempt: Attempt, boot: str, graph: bytes) -> bool:
        """Record the intent, POST once, record what came of it; True when it was accepted."""
        with anyio.move_on_after(SUBMIT_SHIELD_S, shield=True):
            await self._narrator.tell(
                Submitting(
                    attempt=attempt.number,
                    backend=berth.backend.name,
                    boot=boot,
                    prompt_id=attempt.prompt_id,
                    client_id=attempt.client_id,
                )
            )
            outcome = await berth.backend.submit(attempt, graph, self._may_send)
            self._last_send_ms = _now_ms()
            await self._note_submit(berth, attempt, outcome)
            return isinstance(outcome, Accepted)
        return False

    def _may_send(self) -> bool:
        return self._around.leases.is_trusted(self.lease) and not self._scope.cancel_called

    async def _note_submit(self, berth: Berth, attempt: Attempt, outcome: SubmitOutcome) -> None:
        match outcome:
            case Accepted(number=number, problems=problems):
                await self._narrator.tell(
                    Queued(
                        attempt=attempt.number,
                        prompt_id=attempt.prompt_id,
                        number=number,
                        problems=problems,
                    )
                )
            case Rejected(failure=failure):
                await self._narrator.tell(Failed(attempt=attempt.number, failure=failure))
            case Withheld():
                self._turn_away_from(berth)
                name = berth.backend.name
                await self._give_up_attempt(
                    Lost(attempt=attempt.number, backend=name, cause="never_arrived")
                )
            case Ambiguous():
                pass  # the intent stands; the truth will tell

    def _turn_away_from(self, berth: Berth) -> None:
        """Send nothing there until it was seen to answer again."""
        berth.reachable = False
        self._slot.leave()

    async def _follow(self) -> None:
        """Watch an attempt that lives at its backend already."""
        job = self._narrator.job
        self._slot.settle_at(job.backend)
        graph = await self._around.log.workflow(job.job_id, job.workflow) or b"{}"
        attempt = self._attempt(job.attempt)
        async with self._backend().observe(attempt, graph) as observation:
            await self._watch(self._backend(), attempt, observation)

    async def _watch(self, backend: Backend, attempt: Attempt, observation: Observation) -> None:
        self._following = Following(self._config, self._narrator, backend, attempt, self.attention)
        self._known = await self._following.run(observation, self._decide)

    async def _stop(self, why: str) -> None:
        """Ask the backend to end the attempt; its truth will say what came of it."""
        job = self._narrator.job
        self._stopped_for = why
        await self._backend().cancel(self._attempt(job.attempt))
        with anyio.move_on_after(self._config.truth_every_s):
            while not isinstance(self._known, Ended | Absent):
                await anyio.sleep(self._config.truth_while_stopping_s)
                self._known = await self._backend().truth(job.prompt_id, job.boot)

    async def _give_up_attempt(self, lost: Lost) -> None:
        self._slot.leave()
        self._following = None
        await self._narrator.tell(lost)
        self._stopped_for = ""

    async def _retry(self, failure: Failure, after_s: float) -> None:
        due_ms = _now_ms() + int(after_s * 1000)
        attempt = self._narrator.job.attempt
        await self._give_up_lease(Retried(attempt=attempt, failure=failure, not_before_ms=due_ms))

    async def _give_up_lease(self, event: Released | Retried, *, wait_until_ms: int = 0) -> None:
        try:
            await self._around.dispatch.release(self.lease, event, wait_until_ms=wait_until_ms)
        except EverfoldError:
            return  # it is over already, or it will run out by itself

    async def _refresh(self) -> None:
        """Take in what others have told the log, when somebody called for attention."""
        if self.attention.wanted:
            self.attention.clear()
            await self._narrator.catch_up()

    def _backend(self) -> Backend:
        return self._around.fleet.berth(self._narrator.job.backend).backend

    def _attempt(self, number: int) -> Attempt:
        return attempt_of(self.lease.job_id, number, self._around.log.generation)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _workflow_gone() -> Failure:
    return Failure(code="workflow_gone", message="the job's graph is no longer in Redis")
