"""What was seen of one prompt since the last look, merged.

Rule: no I/O and no clock, and bounded: the newest progress, and the newest output per node. A
message of another prompt is never counted; one without a prompt_id is ours where only our client_id
can have got it, because every attempt has a client_id of its own.
"""

from __future__ import annotations

from msgspec import structs

from everfold.runner.backend import Progress, SavedOutput, Sighting
from everfold.runner.comfyui import messages as said
from everfold.runner.comfyui.graph import Plan, without
from everfold.runner.comfyui.progress import Tally, begin, evolve, learn_outputs, report

STARTING = (
    said.ExecutionStart,
    said.ExecutionCached,
    said.ProgressValue,
    said.ProgressState,
    said.Executed,
)


class Sightings:
    def __init__(self, prompt_id: str, plan: Plan) -> None:
        self._prompt_id = prompt_id
        self._tally = begin(plan)
        self._progress: Progress | None = None
        self._started = False
        self._ask_truth = False
        self._saved: dict[str, SavedOutput] = {}
        self._last_frame_at_s = 0.0
        self._merged = Sighting()
        """The last one that was handed out, with the last progress in it."""

    def take(self, message: said.Message, now_s: float) -> None:
        """Count one frame that arrived at `now_s`."""
        if not self._is_ours(message):
            return
        self._last_frame_at_s = now_s
        self._started = self._started or _tells_start(message)
        self._ask_truth = self._ask_truth or _tells_end(message)
        self._move_to(evolve(self._tally, message))
        if isinstance(message, said.Executed) and message.output is not None:
            self._saved[message.node] = SavedOutput(message.node, message.output)

    def miss(self) -> None:
        """Messages may have been lost: only the truth helps."""
        self._ask_truth = True

    def learn_outputs(self, outputs: frozenset[str]) -> None:
        """Take from the server which nodes are outputs."""
        self._move_to(learn_outputs(self._tally, outputs))

    def drop_outputs(self, broken: frozenset[str]) -> None:
        """Take from the server's complaints which nodes it will not run."""
        self.learn_outputs(without(self._tally.plan, self._tally.outputs, broken))

    @property
    def has_news(self) -> bool:
        return bool(
            self._ask_truth
            or self._saved
            or self._started != self._merged.started
            or self._progress != self._merged.progress
        )

    def merge(self) -> Sighting:
        """Return all news, and have none left."""
        is_new = self._progress != self._merged.progress
        self._merged = Sighting(
            started=self._started,
            progress=self._progress,
            saved=tuple(self._saved.values()),
            ask_truth=self._ask_truth,
            last_frame_at_s=self._last_frame_at_s,
        )
        self._saved, self._ask_truth = {}, False
        return self._merged if is_new else structs.replace(self._merged, progress=None)

    def _move_to(self, tally: Tally) -> None:
        if tally is not self._tally or self._started:
            self._tally = tally
            self._progress = report(tally) if self._started else None

    def _is_ours(self, message: said.Message) -> bool:
        if message.prompt_id is not None:
            return message.prompt_id == self._prompt_id
        if isinstance(message, said.Preview | said.NodeText):
            # Those of prompts without a client_id go to all; while ours runs, no other does.
            return self._started
        return isinstance(message, said.Executing)


def _tells_start(message: said.Message) -> bool:
    if isinstance(message, said.Executing):
        return message.node is not None
    return isinstance(message, STARTING)


def _tells_end(message: said.Message) -> bool:
    match message:
        case said.Executing(node=None):
            return True
        case said.ExecutionError():
            return message.is_terminal
        case said.ExecutionSuccess() | said.ExecutionInterrupted():
            return True
    return False
