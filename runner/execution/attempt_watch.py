"""Watches an attempt that lives at its backend: hints from the websocket, the truth from HTTP.

Rule: hints only ever become `started`, `progressed` and `output_saved`. Only a decision made on
the truth ends the watch. The truth is asked for on a hint, on the wake-up flag, and every
`truth_every_s`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import anyio
import msgspec

from everfold.runner.backend import (
    Absent,
    Attempt,
    Backend,
    Ended,
    Observation,
    Running,
    SavedOutput,
    SentPictures,
    Sighting,
    Truth,
)
from everfold.runner.config import RunnerConfig
from everfold.runner.costs.node_cost import NodeCost
from everfold.runner.decisions.actions import Action, Wait, WatchAttempt
from everfold.runner.decisions.output_files import collected
from everfold.runner.decisions.progress_throttle import ProgressThrottle
from everfold.runner.decisions.sent_pictures import merged
from everfold.runner.execution.job_log import JobLog
from everfold.runner.execution.wakeup import Wakeup
from everfold.runner.live.live_channel import LiveChannel
from everfold.streams.events.event import OutputSaved, Started
from everfold.streams.events.limits import OUTPUT_LIMIT_BYTES
from everfold.streams.events.shortening import cut_output
from everfold.streams.live.live_message import LiveMessage, NodeOutput

Decide = Callable[[Truth], Action]

LAST_WORDS_WITHIN_S = 1.0
"""How long the socket is heard for an attempt that its backend no longer has."""
SHOWN_WITHIN_S = 0.3
"""The same where only those who look on miss anything."""

NEW_ASKED_S = 0.5
"""When the truth of an attempt is asked first that was just accepted: the socket tells the rest."""
SETTLED_WITHIN_S = 0.05
"""How long the end that was told may take until it is recorded there; then it is asked for."""

LEAST_OUTPUT_BYTES = 16 * 1024
"""What a node's output may have when those before it have filled the limit of one event."""


class AttemptWatch:
    """One watch of one attempt, from the call of `run` to its return."""

    def __init__(
        self,
        config: RunnerConfig,
        job_log: JobLog,
        backend: Backend,
        attempt: Attempt,
        wakeup: Wakeup,
        live: LiveChannel,
        earlier: AttemptWatch | None = None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._job_log = job_log
        self._backend = backend
        self._attempt = attempt
        self._wakeup = wakeup
        self._live = live
        self._on_end = on_end
        """Called when the backend tells the end of the attempt."""
        self._progress = ProgressThrottle(attempt.number, config.progress_every_s)
        self._saved = set(job_log.job.outputs)
        """Nodes whose output is in the log already."""
        self._output_bytes = len(msgspec.json.encode(job_log.job.outputs))
        self._is_estimated = bool(attempt.costs)
        """Whether the time alone moves the progress on."""
        self._silent_limit_s = config.silent_after_s
        self.last_progress_at_s = time.monotonic()
        """time.monotonic() when the attempt last showed progress, or when the watch began."""
        self._is_opened_anew = False
        """The socket was opened anew since the attempt last showed progress."""
        self._heard = False
        self._saw_success = self._saw_end = False
        self.executed: frozenset[str] = frozenset()
        """Nodes that were seen to be executed."""
        self.node_costs: Mapping[str, NodeCost] = {}
        """What nodes took that ran in this watch."""
        self._earlier_pictures = earlier.pictures(attempt.number) if earlier else {}
        self._pictures: Mapping[str, SentPictures] = {}

    @property
    def socket_heard(self) -> bool:
        """Whether something came over a socket that was opened since the attempt is silent."""
        return self._is_opened_anew and self._heard

    def saw_success(self, attempt: int) -> bool:
        """Say whether the backend told the success of this attempt, and all its outputs."""
        return self._saw_success and attempt == self._attempt.number

    def pictures(self, attempt: int) -> Mapping[str, SentPictures]:
        """Return the pictures that nodes of this attempt sent, to this watch or the one before."""
        if attempt != self._attempt.number:
            return {}
        return merged(self._earlier_pictures, self._pictures)

    async def run(
        self, observation: Observation, decide: Decide, *, is_new: bool = False
    ) -> Truth | None:
        """Watch until the job must be decided anew, and append what the hints say meanwhile.

        `is_new`: it was accepted just now, and has been observed since before it was sent.
        Returns the truth that asks for another action than watching, None when the wake-up flag
        ended the watch. The last progress is sent on return. Raises Fenced, JobClosed or
        JobUnknown when the log refuses an event.
        """
        ask_at_s = time.monotonic() + NEW_ASKED_S if is_new else 0.0
        truth: Truth | None = None
        while truth is None and not self._wakeup.is_set:
            sighting = await self._next_sighting(observation, ask_at_s)
            is_ending = sighting.is_over and not self._saw_end
            if is_ending:
                self._on_end()
            if is_ending and not sighting.is_settled:
                # The end is recorded right after it is told: before that the truth says nothing.
                ask_at_s = min(ask_at_s, time.monotonic() + SETTLED_WITHIN_S)
                sighting = msgspec.structs.replace(sighting, ask_truth=False)
            await self._append_sighting(sighting)
            if sighting.ask_truth or time.monotonic() >= ask_at_s:
                truth = await self._ask_truth(observation, decide)
                ask_at_s = time.monotonic() + self._config.truth_every_s
        await self._append_progress(last=True)
        return truth

    async def _next_sighting(self, observation: Observation, ask_at_s: float) -> Sighting:
        now_s = time.monotonic()
        wait_s = max(0.0, ask_at_s - now_s)
        if self._is_estimated and self._job_log.job.started_at_ms:
            wait_s = min(wait_s, self._config.progress_every_s)
        due_s = self._progress.due_in_s(now_s)
        waiting = observation.next(wait_s if due_s is None else min(due_s, wait_s))
        return await self._wakeup.unless_set(waiting) or Sighting()

    async def _append_sighting(self, sighting: Sighting) -> None:
        self._pass_on(sighting)
        if sighting.started:
            await self._append_started()
        self._heard = sighting.heard
        self.executed |= sighting.executed
        self._saw_success = self._saw_success or sighting.succeeded
        self._saw_end = self._saw_end or sighting.is_over
        self._pictures = sighting.pictures or self._pictures
        self.node_costs = sighting.node_costs or self.node_costs
        if sighting.progress is not None or sighting.saved:
            self.last_progress_at_s = time.monotonic()
            self._is_opened_anew = False
        if (progress := sighting.progress or sighting.estimate) is not None:
            self._progress.note(progress)
        for saved in sighting.saved:
            if saved.node not in self._saved:
                self._saved.add(saved.node)
                await self._append_output(saved)
        await self._append_progress()

    def _pass_on(self, sighting: Sighting) -> None:
        """Show those who look on what was said, without what must not be told."""
        if sighting.messages:
            told = (_shown(message) for message in sighting.messages)
            messages = [self._job_log.without_keys(message) for message in told]
            self._live.add(self._attempt.job_id, self._attempt.number, messages)

    async def _append_output(self, saved: SavedOutput) -> None:
        """Append a node's output; the more there was of them, the more is left out of the next."""
        left = max(LEAST_OUTPUT_BYTES, self._config.event_limit_bytes - self._output_bytes)
        told = collected({saved.node: saved.output}, {})[saved.node]
        output = cut_output(told, min(OUTPUT_LIMIT_BYTES, left))
        self._output_bytes += len(msgspec.json.encode(output))
        await self._job_log.append(
            OutputSaved(attempt=self._attempt.number, node=saved.node, output=output)
        )

    async def _append_progress(self, *, last: bool = False) -> None:
        now_s = time.monotonic()
        event = self._progress.take_last(now_s) if last else self._progress.take(now_s)
        if event is not None:
            await self._job_log.append_soon(event)

    async def _append_started(self) -> None:
        if self._job_log.job.started_at_ms == 0:
            self.last_progress_at_s = time.monotonic()
            await self._job_log.append_soon(Started(attempt=self._attempt.number))

    async def _ask_truth(self, observation: Observation, decide: Decide) -> Truth | None:
        """Ask the backend; return the truth only when it asks for another action than watching."""
        await self._job_log.keep_keys()
        job = self._job_log.job
        asking = self._backend.truth(job.prompt_id, job.boot, job.server)
        truth = await self._wakeup.unless_set(asking)
        if truth is None:
            return None  # whoever woke the run does not wait for a slow answer
        if isinstance(truth, Running):
            await self._append_started()
            await self._reconnect_if_silent(observation)
        if truth == Absent(same_boot=True):
            await self._read_last_words(observation, lambda: self._saw_success)
        if isinstance(truth, Ended):
            await self._read_last_words(observation, self._has_all_pictures)
            await self._show_last_words(observation)
        return None if isinstance(decide(truth), WatchAttempt | Wait) else truth

    def _has_all_pictures(self) -> bool:
        return all(of_node.is_whole or of_node.is_cut for of_node in self._pictures.values())

    async def _read_last_words(self, observation: Observation, has_all: Callable[[], bool]) -> None:
        """Read what the socket still brings of an attempt that is over, until there is all.

        The success of one whose history was cleared at once, and pictures that are no files, are
        told by the socket alone, and HTTP may overtake it.
        """
        if has_all():
            return
        with anyio.move_on_after(LAST_WORDS_WITHIN_S):
            while not has_all():
                await self._append_sighting(await observation.next(LAST_WORDS_WITHIN_S))

    async def _show_last_words(self, observation: Observation) -> None:
        """Pass on what was said before the end, for those who look on."""
        if not self._lacks_end():
            return
        with anyio.move_on_after(SHOWN_WITHIN_S):
            while self._lacks_end():
                await self._append_sighting(await observation.next(SHOWN_WITHIN_S))

    def _lacks_end(self) -> bool:
        return self._live.is_open and not self._saw_end

    async def _reconnect_if_silent(self, observation: Observation) -> None:
        """Open a new socket: one that ComfyUI has made deaf stays open and says nothing.

        Also before the attempt is called stalled.
        """
        silent_s = time.monotonic() - self.last_progress_at_s
        stall_s = self._job_log.job.policy.stall_deadline_s
        is_stalled = stall_s is not None and silent_s > stall_s and not self._is_opened_anew
        if silent_s > self._silent_limit_s:
            self._silent_limit_s *= 2
        elif not is_stalled:
            return
        self._is_opened_anew, self._heard = True, False
        await observation.reconnect()


def _shown(message: LiveMessage) -> LiveMessage:
    """Return a message without words that only a runner may say, such as that a file is stored."""
    if not isinstance(message, NodeOutput) or message.output is None:
        return message
    output = collected({message.node: message.output}, {})[message.node]
    return msgspec.structs.replace(message, output=output)
