"""The pictures that nodes of one prompt send over the websocket as their outputs.

Rule: no I/O and no clock. A frame counts only while such a node runs; previews of other nodes are
dropped. A node's pictures are whole where one connection stood from its beginning to its end. What
is kept is bounded, and the rest is told as cut.
"""

from __future__ import annotations

from collections.abc import Mapping

from everfold.runner.backend import SentPictures
from everfold.runner.comfyui import messages
from everfold.runner.comfyui.graph import Plan
from everfold.runner.decisions.sent_pictures import (
    CLASSES,
    PICTURES_LIMIT,
    PICTURES_LIMIT_BYTES,
)


class SentFrames:
    """What the nodes of a plan have sent. Only messages of its prompt may be added."""

    def __init__(self, plan: Plan) -> None:
        names = (name for name, node in plan.items() if node.class_type in CLASSES)
        self._sent = {name: SentPictures() for name in names}
        self._runs = ""
        """The node that runs and whose beginning this connection has told; empty for none."""
        self._saw_start = False
        """This connection has told the beginning of the prompt."""
        self._count, self._bytes = 0, 0

    @property
    def sent(self) -> Mapping[str, SentPictures]:
        """All that came so far, by node."""
        return self._sent

    def add(self, message: messages.Message) -> None:
        """Note one message."""
        match message:
            case messages.ExecutionStart():
                self._saw_start = True
            case messages.Executing(node=node, prompt_id=str()):
                self._move_to(node)
            case messages.Executing():
                self._runs = ""  # told to a new connection: what came before is missed
            case messages.ExecutionSuccess():
                self._move_to(None)
                self._end()
            case messages.Preview(image=image, node=node):
                if node in (None, self._runs):
                    self._keep(image)

    def miss(self) -> None:
        """Note that the connection ended or began: what is sent in between is nowhere."""
        self._runs, self._saw_start = "", False

    @property
    def has_nodes(self) -> bool:
        """Whether any node of the plan sends pictures."""
        return bool(self._sent)

    @property
    def wants_previews(self) -> bool:
        """Whether a preview that names no prompt is a picture of a node that runs."""
        return bool(self._runs)

    def _move_to(self, node: str | None) -> None:
        if self._runs:
            self._sent[self._runs] = _whole(self._sent[self._runs])
        found = self._sent.get(node or "")
        # One of which a part was missed stays so; one may run in several turns.
        goes_on = found is not None and (found.is_whole or found == SentPictures())
        self._runs = node if node is not None and goes_on else ""

    def _end(self) -> None:
        """The prompt is over: a node that did not run has sent nothing."""
        if self._saw_start:
            for name, found in self._sent.items():
                self._sent[name] = _whole(found) if found == SentPictures() else found

    def _keep(self, image: bytes) -> None:
        if not self._runs or not image:
            return
        found = self._sent[self._runs]
        is_full = self._count == PICTURES_LIMIT or self._bytes + len(image) > PICTURES_LIMIT_BYTES
        if is_full or found.is_cut:
            self._sent[self._runs] = SentPictures(pictures=found.pictures, is_cut=True)
            return
        self._count, self._bytes = self._count + 1, self._bytes + len(image)
        self._sent[self._runs] = SentPictures(pictures=(*found.pictures, image))


def _whole(found: SentPictures) -> SentPictures:
    return SentPictures(pictures=found.pictures, is_whole=not found.is_cut, is_cut=found.is_cut)
