"""Merges the websocket messages of one prompt into a Sighting until it is asked for.

Rule: no I/O and no clock. Bounded: it keeps the newest progress and the newest output per node.
Messages of other prompts are ignored. An `executing` without a prompt_id is about this prompt,
because every attempt has its own client_id and ComfyUI sends that message to one client; so is a
custom node's `progress` without one, while this prompt runs, and a preview while one of its nodes
runs that sends its outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from everfold.runner.backend import Progress, SavedOutput, Sighting
from everfold.runner.comfyui import messages
from everfold.runner.comfyui.graph import Plan, without
from everfold.runner.comfyui.progress import (
    Tally,
    estimate,
    evolve,
    learn_outputs,
    miss,
    new_tally,
    report,
)
from everfold.runner.comfyui.said import Said
from everfold.runner.comfyui.sent_frames import SentFrames
from everfold.runner.costs.node_cost import NodeCost
from everfold.runner.loose_json import NAME_LIMIT

STARTING = (
    messages.ExecutionStart,
    messages.ExecutionCached,
    messages.ProgressValue,
    messages.ProgressState,
    messages.Executed,
)


MOST_OTHER_NODES = 1_000
"""Nodes that are not in the graph, whose outputs are kept: a node may expand into others."""
MOST_OUTPUT_BYTES = 32 * 2**20
"""Of all messages with outputs of one prompt. Further outputs are left to the history."""
LEAST_MOVE = 0.01
"""How far the time alone has to move the progress until that is told."""


class Sightings:
    """What was seen of prompt `prompt_id` since the last `merge`."""

    def __init__(self, prompt_id: str, plan: Plan, costs: Mapping[str, NodeCost] = {}) -> None:
        self._prompt_id = prompt_id
        self._tally = new_tally(plan, costs)
        self._progress: Progress | None = None
        """By the messages alone: a further one is a sign of life."""
        self._told = 0.0
        """The highest value that was told."""
        self._started = False
        self._ask_truth = False
        self._is_over = self.is_settled = False
        """Its end was told; and what ComfyUI says once that end is in the history."""
        self._has_succeeded = False
        self._heard = False
        self._executed: set[str] = set()
        """Nodes whose outputs were told, or which had none."""
        self._others = 0
        """How many of them are not in the graph."""
        self._output_bytes = 0
        self._saved: dict[str, SavedOutput] = {}
        self._frames = SentFrames(plan)
        self._said = Said()
        self._merged = Sighting()
        """The Sighting returned last, with the last progress in it."""

    def add(self, message: messages.Message, size_bytes: int = 0, at_s: float = 0.0) -> None:
        """Merge one message of this size, which came at `at_s`, in seconds of a steady clock; a
        message of another prompt changes nothing."""
        if not self._is_ours(message):
            if self._may_be_shown(message):
                self._said.add(message, self._tally.node or "")
            return
        self._started = self._started or _tells_start(message)
        if _tells_end(message):
            self._ask_truth = self._is_over = True
            self.is_settled |= isinstance(message, messages.Executing)
        self._frames.add(message)
        self._move_to(evolve(self._tally, message, at_s))
        if not (isinstance(message, messages.Preview) and self._frames.wants_previews):
            self._said.add(message, self._tally.node or "")
        match message:
            case messages.ExecutionSuccess():
                self._has_succeeded = True
            case messages.Executed(node=node, output=output):
                self._note_executed(node, output, size_bytes)

    def _note_executed(self, node: str, output: dict[str, object] | None, size_bytes: int) -> None:
        is_known = node in self._tally.plan or node in self._executed
        is_too_much = self._output_bytes + size_bytes > MOST_OUTPUT_BYTES
        if is_too_much or not (is_known or self._may_keep_other(node)):
            return
        self._others += not is_known
        self._output_bytes += size_bytes
        self._executed.add(node)
        if output is not None:
            self._saved[node] = SavedOutput(node, output)

    def _may_keep_other(self, node: str) -> bool:
        return self._others < MOST_OTHER_NODES and len(node) <= NAME_LIMIT

    @property
    def awaits_pictures(self) -> bool:
        """Whether a node of the graph sends its outputs over the websocket."""
        return self._frames.has_nodes

    def pass_on(self, is_wanted: bool) -> None:
        """From now on keep what is said for the next `merge`, or do so no more."""
        self._said.set_wanted(is_wanted)

    def begin(self) -> None:
        """Note that the prompt is posted now: nothing of it was missed before."""
        self._ask_truth = False

    def hear(self) -> None:
        """Note that something came over the present connection, whatever it was."""
        self._heard = True

    def miss(self) -> None:
        """Ask for the truth: a connection began or ended, and messages may have been lost."""
        self._ask_truth, self._heard = True, False
        self._frames.miss()
        self._tally = miss(self._tally)

    @property
    def _succeeded(self) -> bool:
        """Whether the success was told, and every output of the graph or that it was cached."""
        outputs = self._tally.outputs
        told = self._executed | (self._tally.cached or frozenset())
        return self._has_succeeded and bool(outputs) and outputs <= told

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
            or self._said.has_news
            or self._started != self._merged.started
            or self._progress != self._merged.progress
        )

    def merge(self, at_s: float = 0.0) -> Sighting:
        """Return what is new at `at_s` since the last call; afterwards nothing is new.

        `started` stays True; `progress` is None when it is the one returned before.
        """
        is_new = self._progress != self._merged.progress
        self._merged = Sighting(
            started=self._started,
            progress=self._progress,
            saved=tuple(self._saved.values()),
            ask_truth=self._ask_truth,
            succeeded=self._succeeded,
            is_over=self._is_over,
            is_settled=self.is_settled,
            heard=self._heard,
            executed=self._tally.finished - (self._tally.cached or frozenset()),
            pictures=dict(self._frames.sent),
            messages=self._said.take(),
            node_costs=self._tally.seen,
        )
        self._saved, self._ask_truth = {}, False
        now = self._estimated(at_s)
        has_moved = now is not None and not self._is_over and now.value >= self._told + LEAST_MOVE
        if now is not None and (is_new or has_moved):
            self._told = now.value
        told, estimated = (now, None) if is_new else (None, now if has_moved else None)
        return structs.replace(self._merged, progress=told, estimate=estimated)

    def _estimated(self, at_s: float) -> Progress | None:
        """Return the progress as it is at this time."""
        if self._progress is None:
            return None
        value, left_s = estimate(self._tally, at_s)
        left_s = None if self._is_over else left_s
        return structs.replace(self._progress, value=max(value, self._told), left_s=left_s)

    def _move_to(self, tally: Tally) -> None:
        if tally is not self._tally or self._started:
            self._tally = tally
            self._progress = report(tally) if self._started else None

    def _may_be_shown(self, message: messages.Message) -> bool:
        """Say whether a preview or text without a prompt id is this prompt's, which runs."""
        is_bare = isinstance(message, messages.Preview | messages.NodeText)
        return is_bare and message.prompt_id is None and self._started and not self._is_over

    def _is_ours(self, message: messages.Message) -> bool:
        if message.prompt_id is not None:
            return message.prompt_id == self._prompt_id
        runs = self._started and not self._is_over
        is_picture = isinstance(message, messages.Preview) and self._frames.wants_previews
        return isinstance(message, messages.Executing) or (
            runs and (is_picture or isinstance(message, messages.ProgressValue))
        )


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
