"""Merges the websocket messages of one prompt into a Sighting until it is asked for.

Rule: no I/O and no clock. Bounded: it keeps the newest progress and the newest output per node.
Messages of other prompts are ignored. An `executing` without a prompt_id is about this prompt,
because every attempt has its own client_id and ComfyUI sends that message to one client.
"""

from __future__ import annotations

from msgspec import structs

from everfold.runner.backend import Progress, SavedOutput, Sighting
from everfold.runner.comfyui import messages
from everfold.runner.comfyui.graph import Plan, without
from everfold.runner.comfyui.progress import Tally, evolve, learn_outputs, new_tally, report

STARTING = (
    messages.ExecutionStart,
    messages.ExecutionCached,
    messages.ProgressValue,
    messages.ProgressState,
    messages.Executed,
)


class Sightings:
    """What was seen of prompt `prompt_id` since the last `merge`."""

    def __init__(self, prompt_id: str, plan: Plan) -> None:
        self._prompt_id = prompt_id
        self._tally = new_tally(plan)
        self._progress: Progress | None = None
        self._started = False
        self._ask_truth = False
        self._saved: dict[str, SavedOutput] = {}
        self._merged = Sighting()
        """The Sighting returned last, with the last progress in it."""

    def add(self, message: messages.Message) -> None:
        """Merge one message; a message of another prompt changes nothing."""
        if not self._is_ours(message):
            return
        self._started = self._started or _tells_start(message)
        self._ask_truth = self._ask_truth or _tells_end(message)
        self._move_to(evolve(self._tally, message))
        if isinstance(message, messages.Executed) and message.output is not None:
            self._saved[message.node] = SavedOutput(message.node, message.output)

    def miss(self) -> None:
        """Ask for the truth: messages may have been lost."""
        self._ask_truth = True

    def learn_outputs(self, outputs: frozenset[str]) -> None:
        """Use the outputs that the server names; an empty set changes nothing."""
        self._move_to(learn_outputs(self._tally, outputs))

    def drop_outputs(self, broken: frozenset[str]) -> None:
        """Leave out the outputs that need a node which the server refused."""
        self.learn_outputs(without(self._tally.plan, self._tally.outputs, broken))

    @property
    def has_news(self) -> bool:
        """Whether `merge` would return anything new."""
        return bool(
            self._ask_truth
            or self._saved
            or self._started != self._merged.started
            or self._progress != self._merged.progress
        )

    def merge(self) -> Sighting:
        """Return what is new since the last call; afterwards nothing is new.

        `started` stays True; `progress` is None when it is the one returned before.
        """
        is_new = self._progress != self._merged.progress
        self._merged = Sighting(
            started=self._started,
            progress=self._progress,
            saved=tuple(self._saved.values()),
            ask_truth=self._ask_truth,
        )
        self._saved, self._ask_truth = {}, False
        return self._merged if is_new else structs.replace(self._merged, progress=None)

    def _move_to(self, tally: Tally) -> None:
        if tally is not self._tally or self._started:
            self._tally = tally
            self._progress = report(tally) if self._started else None

    def _is_ours(self, message: messages.Message) -> bool:
        if message.prompt_id is not None:
            return message.prompt_id == self._prompt_id
        return isinstance(message, messages.Executing)


def _tells_start(message: messages.Message) -> bool:
    if isinstance(message, messages.Executing):
        return message.node is not None
    return isinstance(message, STARTING)


def _tells_end(message: messages.Message) -> bool:
    match message:
        case messages.Executing(node=None):
            return True
        case messages.ExecutionError():
            return message.is_terminal
        case messages.ExecutionSuccess() | messages.ExecutionInterrupted():
            return True
    return False
