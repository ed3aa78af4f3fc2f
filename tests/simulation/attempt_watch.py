"""runner/execution/watch_attempt.py as steps: hints into the log, the truth every few seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everfold.runner.backend import Running, Truth
from everfold.runner.decisions.actions import Wait, WatchAttempt
from everfold.runner.decisions.progress_throttle import ProgressThrottle
from everfold.streams.events.event import Started
from tests.simulation.comfyui import Sightings
from tests.simulation.tasks import Nap, Steps

if TYPE_CHECKING:
    from tests.simulation.job_run import JobRun


class AttemptWatch:
    def __init__(self, job_run: JobRun) -> None:
        self._run, self._runner = job_run, job_run.runner
        config = self._runner.config
        self._progress = ProgressThrottle(job_run.job.attempt, config.progress_every_s)
        self._truth_every_ms = int(config.truth_every_s * 1000)
        self.last_progress_at_ms = self._runner.agenda.now_ms

    def run(self) -> Steps[Truth | None]:
        """Watch until the job must be decided anew; the socket is closed at the end."""
        job_run, now = self._run, self._runner.agenda
        task = job_run.task
        assert task is not None
        client_id = job_run.job.client_id
        watchers = self._runner.world.backends[job_run.job.backend].watchers
        seen = watchers[client_id] = Sightings(task.wake)
        ask_at_ms, over = 0, None
        while over is None and not job_run.is_woken:
            yield from self._look(seen, ask_at_ms)
            is_asked, seen.ask_truth = seen.ask_truth, False
            yield from self._note(seen)
            if is_asked or now.now_ms >= ask_at_ms:
                over = yield from self._ask()
                ask_at_ms = now.now_ms + self._truth_every_ms
        yield from self._append_progress(last=True)
        if watchers.get(client_id) is seen:
            del watchers[client_id]
        return over

    def _look(self, seen: Sightings, ask_at_ms: int) -> Steps[None]:
        now_ms = self._runner.agenda.now_ms
        wait_ms = max(0, ask_at_ms - now_ms)
        due_s = self._progress.due_in_s(now_ms / 1000)
        if due_s is not None:
            wait_ms = min(wait_ms, int(due_s * 1000) + 1)
        if not (seen.started or seen.progress or seen.ask_truth):
            yield Nap(wait_ms)

    def _note(self, seen: Sightings) -> Steps[None]:
        started, seen.started = seen.started, False
        progress, seen.progress = seen.progress, None
        if started:
            yield from self._started()
        if progress is not None:
            self.last_progress_at_ms = self._runner.agenda.now_ms
            self._progress.note(progress)
        yield from self._append_progress()

    def _append_progress(self, *, last: bool = False) -> Steps[None]:
        now_s = self._runner.agenda.now_ms / 1000
        event = self._progress.take_last(now_s) if last else self._progress.take(now_s)
        if event is not None:
            yield from self._run.job_log.append(event)

    def _started(self) -> Steps[None]:
        if self._run.job.started_at_ms == 0:
            self.last_progress_at_ms = self._runner.agenda.now_ms
            yield from self._run.job_log.append(Started(attempt=self._run.job.attempt))

    def _ask(self) -> Steps[Truth | None]:
        job_run = self._run
        truth = yield from job_run.truth()
        if isinstance(truth, Running):
            yield from self._started()
        return None if isinstance(job_run.decide(truth), WatchAttempt | Wait) else truth
