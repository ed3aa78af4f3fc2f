"""Watches a living attempt: hints from the websocket into the log, the truth from HTTP.

Rule: hints only ever become `started`, `progressed` and `output_saved`; what ends the following
is a decision made on the truth, which is asked for on a hint, on a poke, and every few seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from everfold.runner.backend import Attempt, Backend, Observation, Running, Sighting, Truth
from everfold.runner.config import RunnerConfig
from everfold.runner.decisions.coalesce import Coalesced
from everfold.runner.decisions.decide import Action, Follow, Wait
from everfold.runner.execution.job_log import JobLog
from everfold.runner.execution.wakeup import Wakeup
from everfold.streams.events.event import OutputSaved, Started

Decide = Callable[[Truth], Action]


class AttemptWatch:
    """One stay beside one attempt."""

    def __init__(
        self,
        config: RunnerConfig,
        job_log: JobLog,
        backend: Backend,
        attempt: Attempt,
        wakeup: Wakeup,
    ) -> None:
        self._config = config
        self._job_log = job_log
        self._backend = backend
        self._attempt = attempt
        self._wakeup = wakeup
        self._progress = Coalesced(attempt.number, config.progress_every_s)
        self._saved = set(job_log.job.outputs)
        self._silent_limit_s = config.silent_after_s
        self.heard_at_s = anyio.current_time()
        """When the attempt was last seen to move."""

    async def run(self, observation: Observation, decide: Decide) -> Truth | None:
        """Return when the job must be decided anew, with the truth that says so, if one does."""
        ask_at_s = 0.0
        over: Truth | None = None
        while over is None and not self._wakeup.is_set:
            sighting = await self._look(observation, ask_at_s)
            await self._note(sighting)
            if sighting.ask_truth or anyio.current_time() >= ask_at_s:
                over = await self._ask(observation, decide)
                ask_at_s = anyio.current_time() + self._config.truth_every_s
        await self._append_progress(last=True)
        return over

    async def _look(self, observation: Observation, ask_at_s: float) -> Sighting:
        now_s = anyio.current_time()
        wait_s = max(0.0, ask_at_s - now_s)
        due_s = self._progress.due_in_s(now_s)
        looking = observation.next(wait_s if due_s is None else min(due_s, wait_s))
        return await self._wakeup.unless_set(looking) or Sighting()

    async def _note(self, sighting: Sighting) -> None:
        if sighting.started:
            await self._started()
        if sighting.progress is not None or sighting.saved:
            self.heard_at_s = anyio.current_time()
        if sighting.progress is not None:
            self._progress.note(sighting.progress)
        for saved in sighting.saved:
            if saved.node not in self._saved:
                self._saved.add(saved.node)
                number = self._attempt.number
                await self._job_log.append(
                    OutputSaved(attempt=number, node=saved.node, output=saved.output)
                )
        await self._append_progress()

    async def _append_progress(self, *, last: bool = False) -> None:
        now_s = anyio.current_time()
        event = self._progress.take_last(now_s) if last else self._progress.take(now_s)
        if event is not None:
            await self._job_log.append(event)

    async def _started(self) -> None:
        if self._job_log.job.started_at_ms == 0:
            self.heard_at_s = anyio.current_time()
            await self._job_log.append(Started(attempt=self._attempt.number))

    async def _ask(self, observation: Observation, decide: Decide) -> Truth | None:
        """Ask for the truth; return it when it leads to anything but going on as now."""
        job = self._job_log.job
        truth = await self._backend.truth(job.prompt_id, job.boot)
        if isinstance(truth, Running):
            await self._started()
            await self._reconnect_if_silent(observation)
        return None if isinstance(decide(truth), Follow | Wait) else truth

    async def _reconnect_if_silent(self, observation: Observation) -> None:
        """A socket that the end of an older one has made deaf looks alive and says nothing."""
        if anyio.current_time() - self.heard_at_s > self._silent_limit_s:
            self._silent_limit_s *= 2
            await observation.reconnect()
