"""What goes over a client's websocket: texts, and the three binary frames that ComfyUI has.

Rule: pure. Fields and their order are ComfyUI's.
"""

from __future__ import annotations

import struct
from typing import ClassVar

import msgspec
from msgspec import Struct

from everfold.streams.live.live_message import NodeState, Preview

PREVIEW_IMAGE, TEXT, PREVIEW_IMAGE_WITH_METADATA = 1, 3, 4
"""Types of binary frames."""

IMAGE_TYPES = {"image/jpeg": 1, "image/png": 2}
"""Media type -> the number by which a preview without metadata says it."""


class Executing(Struct, frozen=True):
    """A node begins to run."""

    TYPE: ClassVar = "executing"
    node: str
    display_node: str
    prompt_id: str


class ExecutingNothing(Struct, frozen=True):
    """The prompt is over, and the history has it."""

    TYPE: ClassVar = "executing"
    node: None
    prompt_id: str


class Progress(Struct, frozen=True):
    """A node has done `value` of `max` steps."""

    TYPE: ClassVar = "progress"
    value: float
    max: float
    prompt_id: str
    node: str


class ShownNodeState(Struct, frozen=True):
    """How far one node is."""

    value: float
    max: float
    state: str
    node_id: str
    prompt_id: str
    display_node_id: str
    parent_node_id: str | None
    real_node_id: str


class ProgressState(Struct, frozen=True):
    """How far each node is that runs or has run."""

    TYPE: ClassVar = "progress_state"
    prompt_id: str
    nodes: dict[str, ShownNodeState]


class Executed(Struct, frozen=True):
    """A node's outputs."""

    TYPE: ClassVar = "executed"
    node: str
    display_node: str
    output: dict[str, object] | None
    prompt_id: str


class ExecInfo(Struct, frozen=True):
    """How many prompts of the caller wait or run."""

    queue_remaining: int


class QueueStatus(Struct, frozen=True):
    """The state of the queue."""

    exec_info: ExecInfo


class Status(Struct, frozen=True, omit_defaults=True):
    """The state of the queue; with the client's id right after it has connected."""

    TYPE: ClassVar = "status"
    status: QueueStatus
    sid: str = ""


class _Envelope(Struct, frozen=True):
    type: str
    data: object


class Text(Struct, frozen=True):
    """A text frame."""

    text: str

    @property
    def size_bytes(self) -> int:
        return len(self.text)


class Picture(Struct, frozen=True):
    """A preview of a node that runs."""

    prompt_id: str
    preview: Preview

    @property
    def size_bytes(self) -> int:
        return len(self.preview.image)

    def frame(self, *, with_metadata: bool) -> bytes | None:
        """Return it as a binary frame; None for a kind of picture that ComfyUI never sends."""
        return picture_frame(self.prompt_id, self.preview, with_metadata=with_metadata)


class StoredPicture(Struct, frozen=True):
    """A picture that a node has sent as its output, which is read when it is sent."""

    prompt_id: str
    node: str
    media_type: str
    content_hash: str
    size_bytes: int = 0


class NodeWords(Struct, frozen=True):
    """A node's text for people."""

    node: str
    text: str

    @property
    def size_bytes(self) -> int:
        return len(self.text)

    def frame(self) -> bytes:
        """Return it as a binary frame."""
        name = self.node.encode(errors="replace")
        head = struct.pack(">II", TEXT, len(name))
        return head + name + self.text.encode(errors="replace")


Frame = Text | Picture | StoredPicture | NodeWords


def text_of(kind: str, data: object) -> Text:
    """Return a message as a frame."""
    return Text(msgspec.json.encode(_Envelope(kind, data)).decode())


def status(remaining: int, sid: str = "") -> Text:
    """Return the message that says how many prompts remain."""
    return text_of(Status.TYPE, Status(QueueStatus(ExecInfo(remaining)), sid))


def whole(value: float) -> float:
    """Return a number without a fraction as ComfyUI writes it: 8, and not 8.0."""
    return int(value) if value == int(value) else value


def progress_state(prompt_id: str, nodes: dict[str, NodeState]) -> ProgressState:
    """Return the message about these nodes."""
    return ProgressState(prompt_id, {name: _shown(name, prompt_id, n) for name, n in nodes.items()})


def _shown(name: str, prompt_id: str, node: NodeState) -> ShownNodeState:
    return ShownNodeState(
        value=whole(node.value),
        max=whole(node.most),
        state="finished" if node.is_finished else "running",
        node_id=name,
        prompt_id=prompt_id,
        display_node_id=node.display or name,
        parent_node_id=node.parent or None,
        real_node_id=node.real or name,
    )


def picture_frame(prompt_id: str, preview: Preview, *, with_metadata: bool) -> bytes | None:
    """Return a picture as a binary frame, with what it is of where the client asked for that."""
    kind = IMAGE_TYPES.get(preview.media_type)
    if not with_metadata:
        return None if kind is None else struct.pack(">II", PREVIEW_IMAGE, kind) + preview.image
    about = {
        "node_id": preview.node,
        "prompt_id": prompt_id,
        "display_node_id": preview.node,
        "parent_node_id": None,
        "real_node_id": preview.node,
        "image_type": preview.media_type,
    }
    head = msgspec.json.encode(about)
    return struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(head)) + head + preview.image
