"""ComfyUI as PROTOCOL.md describes it: a queue, one worker, a history, all only in memory.

Rule: a prompt moves only forwards, each move is atomic, and the ledger knows what truly became of
every prompt, whatever anybody was told.
"""

from __future__ import annotations

from collections.abc import Callable

from everfold.runner.backend import Attempt, Ended, Load, Progress
from everfold.streams.events.event import Failure
from tests.simulation.agenda import Agenda

ALIVE = ("pending", "running")
KEPT = ("succeeded", "failed", "interrupted")
"""States whose prompt stands in the history."""


class Script:
    """What a prompt will do when it runs."""

    __slots__ = ("deaf", "ending", "run_ms")

    def __init__(self, run_ms: int, ending: str, deaf: bool) -> None:
        self.run_ms, self.ending, self.deaf = run_ms, ending, deaf


class Prompt:
    """One attempt in the ledger. `state` is the truth."""

    def __init__(self, attempt: Attempt, script: Script, backend: str) -> None:
        self.attempt, self.script, self.backend = attempt, script, backend
        self.state = "unsent"
        """unsent, withheld, sent, dropped, rejected, pending, running, succeeded, failed,
        interrupted, lost (by a restart), deleted."""
        self.sends = self.executions = 0
        self.started_ms = self.ended_ms = 0
        self.in_history = False
        self.interrupt = False
        self.was_interfered = False
        """Somebody else deleted or interrupted it, or cleared the history."""
        self.is_wedged = False
        """It runs for ever, whatever anybody asks."""
        self.was_stopped = False
        """A runner asked the backend to stop this very prompt."""


class Ledger:
    """Every prompt that any runner ever meant to send."""

    def __init__(self) -> None:
        self.prompts: dict[str, Prompt] = {}
        self.by_job: dict[str, list[Prompt]] = {}
        self.changes = 0

    def prompt(self, attempt: Attempt, script: Callable[[], Script], backend: str) -> Prompt:
        if attempt.prompt_id not in self.prompts:
            prompt = Prompt(attempt, script(), backend)
            self.prompts[attempt.prompt_id] = prompt
            self.by_job.setdefault(attempt.job_id, []).append(prompt)
        return self.prompts[attempt.prompt_id]

    def move(self, prompt: Prompt, state: str) -> None:
        prompt.state = state
        self.changes += 1


class Sightings:
    """What one socket has seen and nobody has looked at yet."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.started = self.ask_truth = False
        self.progress: Progress | None = None

    def add(self, *, started: bool = False, progress: Progress | None = None) -> None:
        self.started = self.started or started
        self.progress = progress or self.progress
        self.ask_truth = self.ask_truth or not (started or progress)
        self.wake()


class ComfyUI:
    def __init__(self, name: str, agenda: Agenda, ledger: Ledger) -> None:
        self.name, self._agenda, self._ledger = name, agenda, ledger
        self.deaf_sockets = 0.0
        """Chance that a websocket message is lost."""
        self.is_up, self.is_zombie, self.boot_number = True, False, 1
        self.is_away = False
        """Nobody reaches it; it goes on with what it has."""
        self.here_since_ms = 0
        self.running: Prompt | None = None
        self.pending: list[Prompt] = []
        self.history: dict[str, Prompt] = {}
        self.watchers: dict[str, Sightings] = {}
        """By client_id: the newest socket."""

    @property
    def boot(self) -> str:
        return f"boot-{self.boot_number}"

    # What a request does.

    def arrive(self, prompt: Prompt, boot: str) -> bool:
        """Take in a whole body; False when the connection's server is gone."""
        if not self.is_up or self.is_away or boot != self.boot:
            self._ledger.move(prompt, "dropped")
            return False
        if prompt.script.ending == "rejected":
            self._ledger.move(prompt, "rejected")
            return True
        self.pending.append(prompt)
        self._ledger.move(prompt, "pending")
        self._agenda.after(1, self._work)
        return True

    def queue(self) -> tuple[str, tuple[str, ...]]:
        """Return what runs ("" for nothing) and what waits."""
        running = self.running.attempt.prompt_id if self.running else ""
        return running, tuple(prompt.attempt.prompt_id for prompt in self.pending)

    def load(self) -> Load:
        ids = (self.running.attempt.prompt_id,) if self.running else ()
        return Load(running=len(ids), pending=len(self.pending), running_ids=ids)

    def ended(self, prompt_id: str) -> Ended | None:
        prompt = self.history.get(prompt_id)
        if prompt is None:
            return None
        retryable = prompt.script.ending == "out_of_memory"
        failure = Failure(code=prompt.script.ending, message="boom", retryable=retryable)
        return Ended(
            succeeded=prompt.state == "succeeded",
            interrupted=prompt.state == "interrupted",
            outputs={},
            outputs_reused=False,
            failure=failure if prompt.state == "failed" else None,
            started_at_ms=prompt.started_ms,
            ended_at_ms=prompt.ended_ms,
        )

    def delete(self, prompt_id: str) -> None:
        for prompt in self.pending:
            if prompt.attempt.prompt_id == prompt_id:
                self.pending.remove(prompt)
                self._ledger.move(prompt, "deleted")
                return

    def interrupt(self, prompt_id: str) -> None:
        """Targeted: nothing happens unless that prompt runs."""
        prompt = self.running
        if prompt is not None and prompt.attempt.prompt_id == prompt_id:
            prompt.interrupt = True
            if not prompt.script.deaf:
                self._agenda.after(self._agenda.between(5, 900), self._end, prompt)

    # What the worker does.

    def _work(self) -> None:
        if self.running is not None or not self.pending or self.is_zombie or not self.is_up:
            return
        prompt = self.running = self.pending.pop(0)
        prompt.executions += 1
        prompt.started_ms = self._agenda.now_ms
        self._ledger.move(prompt, "running")
        self._say(prompt, started=True)
        for part in (1, 2):
            at_ms = prompt.script.run_ms * part // 3
            self._agenda.after(at_ms, self._show_progress, prompt, part / 3)
        self._agenda.after(prompt.script.run_ms, self._end, prompt)

    def _show_progress(self, prompt: Prompt, value: float) -> None:
        if self.running is prompt:
            self._say(prompt, progress=Progress(value=value, nodes_done=0, nodes_total=3))

    def _end(self, prompt: Prompt) -> None:
        if self.running is not prompt or self.is_zombie or prompt.is_wedged:
            return
        self.running = None
        prompt.ended_ms = self._agenda.now_ms
        self.history[prompt.attempt.prompt_id] = prompt
        prompt.in_history = True
        self._ledger.move(prompt, self._ending(prompt))
        self._say(prompt)
        self._agenda.after(1, self._work)

    def _ending(self, prompt: Prompt) -> str:
        if prompt.interrupt and not prompt.script.deaf:
            return "interrupted"
        return "succeeded" if prompt.script.ending == "success" else "failed"

    def _say(
        self, prompt: Prompt, *, started: bool = False, progress: Progress | None = None
    ) -> None:
        watcher = self.watchers.get(prompt.attempt.client_id)
        is_heard = not self.is_away and not self._agenda.chance(self.deaf_sockets)
        if watcher is not None and is_heard:
            self._agenda.after(
                self._agenda.between(0, 20),
                lambda: watcher.add(started=started, progress=progress),
            )

    # What befalls it.

    def stop(self) -> None:
        """Die: everything in memory is gone."""
        self.is_up, self.is_zombie = False, False
        for prompt in [*self.pending, *([self.running] if self.running else [])]:
            self._ledger.move(prompt, "lost")
        for prompt in self.history.values():
            prompt.in_history = False
        self.running, self.pending, self.history = None, [], {}
        self.watchers = {}

    def start(self) -> None:
        if not self.is_up:
            self.is_up = True
            self.boot_number += 1

    def lose_worker(self) -> None:
        """The worker thread dies after what it runs; HTTP goes on as if nothing were."""
        if self.running is None:
            self.is_zombie = True

    def wedge(self) -> None:
        """What runs now never ends: only a restart of the server ends it."""
        if self.running is not None:
            self.running.is_wedged = True

    @property
    def is_wedged(self) -> bool:
        return self.running is not None and self.running.is_wedged

    def interfere(self, kind: str) -> None:
        """A person at ComfyUI's own page deletes, interrupts, or clears the history."""
        prompts = self.pending[:1] if kind == "delete" else list(self.history.values())
        if kind == "interrupt":
            prompts = [self.running] if self.running else []
        for prompt in prompts:
            prompt.was_interfered = True
            if kind == "delete":
                self.delete(prompt.attempt.prompt_id)
            elif kind == "interrupt":
                self.interrupt(prompt.attempt.prompt_id)
            else:
                prompt.in_history = False
        if kind == "clear":
            self.history = {}
