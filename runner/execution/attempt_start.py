"""Starts an attempt: reserves a slot, records the intent, POSTs once and records the outcome.

Rule: nothing is sent before the intent is in the log, and nothing is sent twice. Nothing is sent
without a trusted lease, which is checked last right before the final byte.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import anyio
import msgspec
from msgspec import UNSET, Struct

from everfold.runner.backend import (
    Accepted,
    Ambiguous,
    Attempt,
    Backend,
    Observation,
    Rejected,
    SubmitOutcome,
    Withheld,
)
from everfold.runner.capabilities.model_names import read_graph, with_listed_names
from everfold.runner.costs.node_cost import NodeCost
from everfold.runner.execution.attempt_server import AttemptServer
from everfold.runner.execution.job_backend import JobSlot
from everfold.runner.execution.job_log import JobLog
from everfold.runner.execution.known_submit import KnownSubmit, known_submit
from everfold.runner.execution.restore_job import find_unrecorded
from everfold.runner.execution.shared import Shared
from everfold.runner.fleet.backend_state import BackendState
from everfold.runner.inputs.input_files import NotTaken, PlacedInputs, StoreAway, sent_graph
from everfold.runner.inputs.other_stores import other_place
from everfold.runner.inputs.while_wanted import WhileWanted
from everfold.streams.appending.body import targets_of
from everfold.streams.appending.job_input import JobInput
from everfold.streams.appending.leased_input import load_leased_input
from everfold.streams.appending.memory.memory import KEPT_S
from everfold.streams.events.event import AssetInput, Failed, Failure, Lost, Queued, Submitting
from everfold.streams.events.needs import Needs, needs_of
from everfold.streams.events.reasons import LostCause

SUBMIT_SHIELD_S = 10.0
"""How long a submit in progress may go on once its job run was told to stop."""


class Sending(Struct, frozen=True):
    """What is sent, and where to."""

    state: BackendState
    attempt: Attempt
    boot: str
    workflow: bytes
    uploads: PlacedInputs


Watch = Callable[[Backend, Attempt, Observation], Awaitable[None]]


class AttemptStart:
    """Starts the attempts of one job run.

    `may_send` returns False once the run may no longer send anything for its job. `now_ms` returns
    the server's time in milliseconds. `until_unwanted` returns once the job wants no attempt begun.
    """

    def __init__(
        self,
        shared: Shared,
        job_log: JobLog,
        slot: JobSlot,
        may_send: Callable[[], bool],
        now_ms: Callable[[], int],
        until_unwanted: Callable[[], Awaitable[None]],
    ) -> None:
        self._shared = shared
        self._job_log = job_log
        self._slot = slot
        self._server = AttemptServer(shared, job_log, slot)
        self._may_send = may_send
        self._now_ms = now_ms
        self._until_unwanted = until_unwanted
        self._submitting = anyio.CancelScope(shield=True)
        self.was_turned_away = False
        """The server turned the last POST away for a reason that is not the job's."""
        self.why_none = ""
        """Why no backend of this runner can run the job, by the last try; empty where one can."""
        self.last_send_ms = 0
        """When the last POST came to its end, 0 before the first."""
        self.input: JobInput | None = None
        """What the job sends, kept once it was loaded: the server may lose its copy."""
        self._needs = Needs()
        self.submitted: KnownSubmit | None = None
        """How it was submitted; the server may lose that, too."""

    async def run(self, number: int, watch: Watch) -> bool:
        """Start attempt `number` and, once it is accepted, `watch` it until that returns.

        Returns False, with nothing recorded, when no backend had room in time or can run the job.
        True means only that the job must be decided anew. Raises Fenced, JobClosed or JobUnknown
        when the log refuses an event, and Unavailable when the server is away.
        """
        if await self._adopt_unrecorded(number):
            return True
        found = await self.load_input()
        if isinstance(found, Failure):
            await self._job_log.append(Failed(attempt=number - 1, failure=found))
            return True
        state = await self._server.reserve(self._needs)
        if isinstance(state, str):
            self.why_none = state
            return False
        self.why_none = ""
        boot = await self._server.meet(state, self._needs)
        if boot is None:
            self._slot.release()
            return True
        uploads = await self._place_inputs(state, boot)
        if uploads is None:
            self._slot.release()
            return not self.why_none
        workflow = with_listed_names(sent_graph(found.workflow, uploads), state.capabilities)
        attempt = await self.observed_attempt(number)
        # The socket first: ComfyUI does not repeat what it says while nobody listens.
        async with self._shared.live.observing(state.backend, attempt, workflow) as observation:
            if await self._submit(Sending(state, attempt, boot, workflow, uploads)):
                await watch(state.backend, attempt, observation)
        return True

    async def _place_inputs(self, state: BackendState, boot: str) -> PlacedInputs | None:
        """Have the server keep the job's files; None where the attempt does not begin there.

        `why_none` is set where it cannot begin anywhere now.
        """
        job, files = self._job_log.job, self._shared.input_files
        if not job.inputs:
            return {}
        place = partial(files.place, state.backend, boot, await self._opened_inputs())
        here = WhileWanted(place, self._server.elsewhere(state, self._needs, math.inf))
        match await WhileWanted(here.run, self._until_unwanted).run():
            case dict(names):
                # A server that has restarted meanwhile may have lost them.
                return names if await state.backend.boot() == boot else None
            case Failure() as failure:
                self.why_none = await self._why_elsewhere(failure)
                if not self.why_none:
                    await self._job_log.append(Failed(attempt=job.attempt, failure=failure))
            case StoreAway(why=why):
                self.why_none = why
            case NotTaken(why=why, is_away=is_away):
                if is_away:
                    self._avoid(state, why)
                self.why_none = files.why_none(job.inputs, self._server.able(self._needs))
        return None

    async def _why_elsewhere(self, failure: Failure) -> str:
        """Say that another runner stores files elsewhere, and may have what this one lacks; empty
        where there is none, or none has taken the job for `backend_away_s`."""
        job, shared = self._job_log.job, self._shared
        limit_s, age_s = job.policy.backend_away_s, (self._now_ms() - job.submitted_at_ms) / 1000
        if limit_s is not None and age_s > limit_s:
            return ""
        place = await other_place(shared.log, shared.config.name)
        return f"{failure.message}; another runner stores files in {place}" if place else ""

    async def _opened_inputs(self) -> dict[str, AssetInput]:
        """Return the job's files with their names as they were given."""
        job = self._job_log.job
        return (await self._shared.log.opened(job, job.job_id)).inputs

    async def load_input(self) -> JobInput | Failure:
        """Return what the job sends; a failure when Redis no longer has it."""
        if self.input is None:
            lease, job = self._job_log.lease, self._job_log.job
            found = await load_leased_input(self._shared.log, job, lease)
            if isinstance(found, Failure):
                return found
            self.input = found
            self._needs = needs_of(
                read_graph(found.workflow), job.needs, targets_of(found.extra_data)
            )
            self.submitted = await known_submit(self._shared.log, lease, self._needs, found)
        return self.input

    def attempt(self, number: int) -> Attempt:
        """Return attempt `number`, with what it sends besides its graph where that is known."""
        attempt = self._job_log.attempt(number)
        if self.input is None:
            return attempt
        keys, extra = self.input.partner_keys, self.input.extra_data
        return msgspec.structs.replace(attempt, extra_data=extra, partner_keys=keys)

    async def observed_attempt(self, number: int) -> Attempt:
        """Return attempt `number` with what its nodes are expected to take."""
        attempt, found = self.attempt(number), self.input
        costs = await self._shared.costs.expected(found.workflow) if found is not None else {}
        return msgspec.structs.replace(attempt, costs=costs)

    def learn(self, costs: Mapping[str, NodeCost]) -> None:
        """Keep what the nodes of an attempt took, for the progress of later jobs."""
        if self.input is not None:
            self._shared.costs.learn(self.input.workflow, costs)

    def limit_submit_time(self) -> None:
        """Let a submit in progress go on for SUBMIT_SHIELD_S at most: the run is stopping."""
        self._submitting.deadline = anyio.current_time() + SUBMIT_SHIELD_S

    async def _adopt_unrecorded(self, number: int) -> bool:
        """Record an attempt that a backend holds and a server without its newest writes forgot.

        Returns True when there was one.
        """
        job = self._job_log.job
        log, clock = self._shared.log, self._shared.dispatch.clock
        restarted_ms = await log.servers.last_restart_ms(log.keys.partition_of(job.job_id))
        # One that was lost may have been submitted again since, by whoever still knew it.
        known_ms = restarted_ms + int(KEPT_S * 1000) if restarted_ms else 0
        # Times from before a step of the server's clock cannot be compared.
        is_newer = job.submitted_at_ms >= max(known_ms, clock.unsure_to_ms)
        # What this runner was told is in the log may be in no log any more.
        is_behind = any(one.seq > job.seq for one in log.memory.of_job(job.job_id))
        if not (job.rewound or is_behind) and is_newer:
            return False
        # This runner may remember how it went on: it is told before anything is begun.
        await log.memory_watch.put_back.put_back(job.job_id)
        await self._job_log.refresh()
        if self._job_log.job.seq != job.seq:
            return True
        attempt = self._job_log.attempt(number)
        state = await find_unrecorded(self._shared.fleet, attempt)
        boot = await state.backend.boot() if state is not None else None
        if state is None or not isinstance(boot, str):
            return False
        await self._append_intent(state, attempt, boot)
        return True

    async def _append_intent(
        self, state: BackendState, attempt: Attempt, boot: str, uploads: PlacedInputs | None = None
    ) -> None:
        found = await state.backend.server()
        if isinstance(found, str) and found:
            state.server = found
        await self._job_log.append(
            Submitting(
                attempt=attempt.number,
                backend=state.backend.name,
                boot=boot,
                server=self._shared.fleet.identity_of(state),
                prompt_id=attempt.prompt_id,
                client_id=attempt.client_id,
                uploads=uploads or UNSET,
            )
        )

    async def _submit(self, sending: Sending) -> bool:
        """Record the intent, POST once and record the outcome; True when it was accepted.

        Without an outcome, as after a POST that was cut short, the backend's truth settles it.
        """
        outcome: SubmitOutcome | None = None
        state, attempt = sending.state, sending.attempt
        with anyio.CancelScope(shield=True) as self._submitting:
            self.was_turned_away = False
            await self._append_intent(state, attempt, sending.boot, sending.uploads)
            # Only the POSTs have an order: the intents of several jobs are written together.
            await self._slot.wait_for_turn()
            try:
                with state.posting():
                    outcome = await state.backend.submit(attempt, sending.workflow, self._may_send)
            finally:
                self.last_send_ms = self._now_ms()
                self._slot.note_sent()
            if isinstance(outcome, Rejected) and await self._has_lost_files(sending):
                await self._append_lost(state, attempt, "never_arrived")
            else:
                await self._append_outcome(state, attempt, outcome)
        return isinstance(outcome, Accepted)

    async def _has_lost_files(self, sending: Sending) -> bool:
        """Say whether the server refused a graph because it lost the files that were put there."""
        files, backend = self._shared.input_files, sending.state.backend
        if not sending.uploads:
            return False
        return not await files.are_there(backend, sending.boot, await self._opened_inputs())

    async def _append_outcome(
        self, state: BackendState, attempt: Attempt, outcome: SubmitOutcome
    ) -> None:
        match outcome:
            case Accepted(number=number, problems=problems):
                state.mark_accepting()
                await self._job_log.append_soon(
                    Queued(
                        attempt=attempt.number,
                        prompt_id=attempt.prompt_id,
                        number=number,
                        problems=problems,
                    )
                )
            case Rejected(failure=failure, of_server=True):
                self._slot.release()
                await self._append_lost(state, attempt, "refused", failure)
            case Rejected(failure=failure):
                await self._job_log.append(Failed(attempt=attempt.number, failure=failure))
            case Withheld(refuses=True):
                self._turn_away(state, outcome.why)
                await self._append_lost(state, attempt, "turned_away")
            case Withheld():
                self._avoid(state, outcome.why)
                await self._append_lost(state, attempt, "never_arrived")
            case Ambiguous(refuses=True):
                # The intent stays open until the backend's truth settles it.
                self._turn_away(state, outcome.why)

    async def _append_lost(
        self,
        state: BackendState,
        attempt: Attempt,
        cause: LostCause,
        failure: Failure | None = None,
    ) -> None:
        name = state.backend.name
        await self._job_log.append(
            Lost(attempt=attempt.number, backend=name, cause=cause, failure=failure)
        )

    def _turn_away(self, state: BackendState, why: str) -> None:
        """Send nothing there for a while: the server turns POSTs away, whatever the job."""
        state.mark_refusing(why)
        self.was_turned_away = True
        self._slot.release()

    def _avoid(self, state: BackendState, why: str) -> None:
        """Send nothing there until a poll has reached it again."""
        state.mark_away(why)
        self._slot.release()
