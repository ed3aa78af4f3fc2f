"""runner/comfyui/backend.py as steps: truth is the queue first, then the history, then the boot."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from everfold.runner.backend import (
    Absent,
    Accepted,
    Ambiguous,
    Attempt,
    Pending,
    Rejected,
    Running,
    SubmitOutcome,
    Truth,
    Unreachable,
    Withheld,
)
from everfold.streams.events.event import Failure
from tests.simulation.comfyui import ComfyUI, Prompt
from tests.simulation.tasks import Post, Steps, ask

if TYPE_CHECKING:
    from tests.simulation.runner import Runner

NEVER_LATER_MS = 1_900
"""Bytes that were given away arrive by then or never: less than the grace of a submit."""


class Remote:
    """A backend as one runner reaches it."""

    def __init__(self, runner: Runner, comfyui: ComfyUI) -> None:
        self._runner, self._comfyui, self.name = runner, comfyui, comfyui.name

    def boot(self) -> Steps[str | Unreachable]:
        return (yield from ask(self.name, lambda: self._comfyui.boot, "boot"))

    def truth(self, prompt_id: str, boot: str) -> Steps[Truth]:
        return (yield from self._queue(prompt_id)) or (yield from self._rest(prompt_id, boot))

    def _queue(self, prompt_id: str) -> Steps[Running | Pending | Unreachable | None]:
        queue = yield from ask(self.name, self._ask_queue, "queue")
        if isinstance(queue, Unreachable):
            return queue
        if queue[0] == prompt_id:
            return Running()
        return Pending(queue[1].index(prompt_id)) if prompt_id in queue[1] else None

    def _ask_queue(self) -> tuple[str, tuple[str, ...]] | Unreachable:
        return self._comfyui.queue()

    def _rest(self, prompt_id: str, boot: str) -> Steps[Truth]:
        ended = yield from ask(self.name, lambda: self._comfyui.ended(prompt_id), "history")
        if ended is not None:
            return ended
        is_alive = yield from ask(self.name, lambda: self._is_alive(boot), "boot marker")
        return is_alive if isinstance(is_alive, Unreachable) else Absent(same_boot=is_alive)

    def _is_alive(self, boot: str) -> bool | Unreachable:
        return self._comfyui.boot == boot

    def submit(self, attempt: Attempt, may_send: Callable[[], bool]) -> Steps[SubmitOutcome]:
        """Look at `may_send` and give the last byte away in one step, but for the window."""
        world, prompt = self._runner.world, self._prompt(attempt)
        yield world.faults.connect_ms()
        if not self._runner.reaches(self.name):
            return Withheld("no connection")
        boot = self._comfyui.boot
        if not may_send():
            return Withheld("the lease is no longer trusted")
        if world.window_ms:
            yield world.window_ms
        prompt.sends += 1
        world.ledger.move(prompt, "sent")
        world.checker.sent(prompt)
        return self._read(prompt, (yield self._post(prompt, boot)))

    def _post(self, prompt: Prompt, boot: str) -> Post:
        def drop() -> None:
            self._runner.world.ledger.move(prompt, "dropped")

        return Post(self.name, lambda: self._comfyui.arrive(prompt, boot), NEVER_LATER_MS, drop)

    def _read(self, prompt: Prompt, reply: object) -> SubmitOutcome:
        if reply is not True or self._runner.world.faults.garbles_answer():
            return Ambiguous("no answer that makes sense")
        if prompt.state == "rejected":
            return Rejected(Failure(code="invalid_workflow", message="no such node"))
        return Accepted(number=None, problems=[])

    def _prompt(self, attempt: Attempt) -> Prompt:
        world = self._runner.world
        return world.ledger.prompt(attempt, lambda: world.script_of(attempt), self.name)

    def cancel(self, attempt: Attempt) -> Steps[None]:
        prompt_id, comfyui = attempt.prompt_id, self._comfyui
        self._prompt(attempt).was_stopped = True
        yield from ask(self.name, lambda: comfyui.delete(prompt_id), "delete")
        queue = yield from ask(self.name, self._ask_queue, "queue")
        if not isinstance(queue, Unreachable) and queue[0] == prompt_id:
            yield from ask(self.name, lambda: comfyui.interrupt(prompt_id), "interrupt")
