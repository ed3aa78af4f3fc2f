"""Stops prompts that were given up, on each backend that can be asked again.

Rule: before they are over, their backend gets nothing new. A slow backend delays no other one, and
a prompt of which a backend that answers says nothing keeps it waiting for UNKNOWN_FOR_S only.
"""

from __future__ import annotations

import anyio
import anyio.abc

from everfold.projector.reading.queries import current
from everfold.runner.backend import Absent, Ended, Truth, Unreachable
from everfold.runner.execution.attempt_place import attempt_at
from everfold.runner.execution.shared import Shared
from everfold.runner.fleet.backend_state import BackendState
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import CorruptLog, EverfoldError, JobUnknown
from everfold.streams.leases.backends import Abandoned, abandoned_prompts, forget_abandoned
from everfold.streams.redis.pages import Hashes
from everfold.streams.redis.redis_errors import command

logger = get_logger("everfold.runner")

AT_ONCE = 50
"""Prompts of one backend that are looked at in one round."""

ROUND_WITHIN_S = 60.0

UNKNOWN_FOR_S = 600.0
"""How long a prompt whose history cannot be read keeps its backend from new jobs."""


class AbandonedPrompts:
    """The actor of one runner."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._read: Hashes | None = None
        self._noted = anyio.Event()
        self._busy: set[str] = set()
        """Backends that are being asked."""
        self._unknown_since_s: dict[str, float] = {}
        """Prompt -> since when its backend answers, but nothing of this prompt."""

    def note(self, read: Hashes) -> None:
        """Look at the prompts that a heartbeat has read."""
        self._read = read
        self._noted.set()

    async def run(self) -> None:
        """Look at what each heartbeat has read until cancelled; trouble of the server is waited
        out."""
        async with anyio.create_task_group() as tasks:
            while True:
                await self._noted.wait()
                self._noted = anyio.Event()
                try:
                    await self._look(tasks)
                except EverfoldError as error:
                    logger.warning("abandoned_prompts_not_read why=%r", str(error))

    async def _look(self, tasks: anyio.abc.TaskGroup) -> None:
        fleet, log = self._shared.fleet, self._shared.log
        found = (await abandoned_prompts(log, self._read)).values()
        prompts = sorted(found, key=lambda one: one.since_ms)
        known = {prompt.prompt_id for prompt in prompts}
        self._unknown_since_s = {p: s for p, s in self._unknown_since_s.items() if p in known}
        for state in fleet.all_states:
            left = [prompt for prompt in prompts if fleet.has_taken(state, prompt)]
            if not (left and state.reachable):
                state.has_abandoned = bool(left)
            elif state.backend.name not in self._busy:
                self._busy.add(state.backend.name)
                tasks.start_soon(self._stop_all, state, left)

    async def _stop_all(self, state: BackendState, left: list[Abandoned]) -> None:
        is_over = False
        try:
            with anyio.move_on_after(ROUND_WITHIN_S):
                over = [await self._is_over(state, prompt) for prompt in left[:AT_ONCE]]
                is_over = all(over) and len(left) <= AT_ONCE
        except EverfoldError as error:
            logger.warning("abandoned_prompts_not_stopped why=%r", str(error))
        finally:
            state.has_abandoned = not is_over
            self._busy.discard(state.backend.name)

    async def _is_over(self, state: BackendState, prompt: Abandoned) -> bool:
        """Stop one prompt, unless its job still counts on it; True when there is nothing to do."""
        if await self._counts_on(prompt):
            return True  # whoever meant to give it up died before it was told
        truth = await self._truth(state, prompt)
        if not isinstance(truth, Ended | Absent | Unreachable):
            await state.backend.cancel(attempt_at(prompt))
            truth = await self._truth(state, prompt)
        if isinstance(truth, Unreachable):
            since_s = self._unknown_since_s.setdefault(prompt.prompt_id, steady_s())
            return state.reachable and steady_s() - since_s > UNKNOWN_FOR_S
        self._unknown_since_s.pop(prompt.prompt_id, None)
        if not isinstance(truth, Ended | Absent):
            return False
        logger.info("abandoned_prompt_over job=%s backend=%s", prompt.job_id, prompt.backend)
        await forget_abandoned(self._shared.log, prompt.prompt_id)
        return True

    async def _truth(self, state: BackendState, prompt: Abandoned) -> Truth:
        return await state.backend.truth(prompt.prompt_id, "", prompt.server)

    async def _counts_on(self, prompt: Abandoned) -> bool:
        """Say whether the prompt's job is open and may go on with it: true if it cannot be read."""
        log, job_id = self._shared.log, prompt.job_id
        try:
            job = await current(log, job_id)
        except JobUnknown:
            return False
        except CorruptLog:
            return await command(log.redis, "HGET", log.keys.head(job_id), "status") == b"open"
        return job.may_be_alive and job.attempt == prompt.attempt
