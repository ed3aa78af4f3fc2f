"""What ComfyUI says over its websocket, as tagged values.

Rule: pure, and `decode` is total: a frame that is garbage, or of a kind not yet known, becomes a
value and never an exception. Source: ComfyUI 0.3.64. Nothing here says that a prompt has ended; it
only says that ComfyUI said so.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from everfold.runner.comfyui import loose_json


class Message(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What all messages share."""

    prompt_id: str | None = None
    """None where ComfyUI leaves it out: status, bare previews, `executing` on reconnect."""


class ExecInfo(Struct, frozen=True):
    queue_remaining: int = 0


class QueueStatus(Struct, frozen=True):
    exec_info: ExecInfo = ExecInfo()


class Status(Message, frozen=True, kw_only=True, tag="status"):
    """How many prompts run and wait, whoever's they are; the first one of a socket has its sid."""

    status: QueueStatus | None = None
    sid: str | None = None


class ExecutionStart(Message, frozen=True, kw_only=True, tag="execution_start"):
    timestamp: float | None = None


class ExecutionCached(Message, frozen=True, kw_only=True, tag="execution_cached"):
    nodes: list[str] = []
    timestamp: float | None = None


class Executing(Message, frozen=True, kw_only=True, tag="executing"):
    """A node begins; no node: the prompt is over and its history is written."""

    node: str | None = None
    display_node: str | None = None


class ProgressValue(Message, frozen=True, kw_only=True, tag="progress"):
    value: float = 0.0
    max: float = 0.0
    node: str | None = None


class NodeState(Struct, frozen=True, kw_only=True):
    value: float = 0.0
    max: float = 1.0
    state: str = "running"
    display_node_id: str | None = None


class ProgressState(Message, frozen=True, kw_only=True, tag="progress_state"):
    """Cumulative: every node that runs or has run, apart from the cached ones."""

    nodes: dict[str, NodeState] = {}


class Executed(Message, frozen=True, kw_only=True, tag="executed"):
    """A node's `ui` outputs; also said of cached output nodes, there perhaps without an output."""

    node: str = ""
    display_node: str | None = None
    output: dict[str, object] | None = None


class ExecutionSuccess(Message, frozen=True, kw_only=True, tag="execution_success"):
    """Said before the history entry exists."""

    timestamp: float | None = None


class ExecutionError(Message, frozen=True, kw_only=True, tag="execution_error"):
    node_id: str | None = None
    node_type: str | None = None
    exception_type: str = ""
    exception_message: str = ""
    timestamp: float | None = None

    @property
    def is_terminal(self) -> bool:
        """False for ExecutionBlocked, after which the prompt goes on and may succeed."""
        return self.exception_type != "ExecutionBlocked"


class ExecutionInterrupted(Message, frozen=True, kw_only=True, tag="execution_interrupted"):
    node_id: str | None = None
    node_type: str | None = None
    timestamp: float | None = None


class FeatureFlags(Message, frozen=True, kw_only=True, tag="feature_flags"):
    pass


class Preview(Message, frozen=True, kw_only=True, tag="preview"):
    """A preview image, binary types 1 and 4: only that it came, its pixels are dropped."""

    node: str | None = None
    size_bytes: int = 0


class NodeText(Message, frozen=True, kw_only=True, tag="text"):
    """A node's text for people, binary type 3."""

    node: str = ""
    text: str = ""


class Unknown(Message, frozen=True, kw_only=True, tag="unknown"):
    """A kind of message that this version does not know; to be ignored."""

    name: str


class Garbage(Message, frozen=True, kw_only=True, tag="garbage"):
    """Not a message; to be ignored."""

    why: str


KINDS: tuple[type[Message], ...] = (
    Status,
    ExecutionStart,
    ExecutionCached,
    Executing,
    ProgressValue,
    ProgressState,
    Executed,
    ExecutionSuccess,
    ExecutionError,
    ExecutionInterrupted,
    FeatureFlags,
)
"""Every text message that ComfyUI 0.3.64 sends."""

PREVIEW_IMAGE, TEXT, PREVIEW_IMAGE_WITH_METADATA = 1, 3, 4
"""Binary event types; 2 never leaves the server."""


class _Frame(Struct, frozen=True):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


_KIND_BY_NAME = {str(kind.__struct_config__.tag): kind for kind in KINDS}
_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in _KIND_BY_NAME.items()}
_FRAME_DECODER = msgspec.json.Decoder(_Frame)


def decode(frame: str | bytes) -> Message:
    """Read one websocket frame, text or binary."""
    if isinstance(frame, bytes):
        return _decode_binary(frame)
    try:
        envelope = _FRAME_DECODER.decode(frame)
        decoder = _DECODERS.get(envelope.type)
        return decoder.decode(envelope.data) if decoder else Unknown(name=envelope.type)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _decode_slowly(frame)


def _decode_slowly(frame: str) -> Message:
    """Read a frame that strict JSON refuses, such as an output with a NaN in it."""
    try:
        envelope = loose_json.as_object(loose_json.read(frame))
        name = loose_json.as_text(envelope.get("type"))
        if not name:
            return Garbage(why="no type")
        kind = _KIND_BY_NAME.get(name)
        data = {**loose_json.as_object(envelope.get("data")), "type": name}
        return msgspec.convert(data, kind) if kind else Unknown(name=name)
    except (ValueError, RecursionError) as error:
        return Garbage(why=str(error))


def _decode_binary(frame: bytes) -> Message:
    kind, body = int.from_bytes(frame[:4], "big"), frame[4:]
    if len(frame) < 4:
        return Garbage(why=f"a binary frame of {len(frame)} bytes")
    if kind == PREVIEW_IMAGE:
        return Preview(size_bytes=len(body) - 4)
    if kind == TEXT:
        node, text = _split(body)
        return NodeText(node=node.decode(errors="replace"), text=text.decode(errors="replace"))
    if kind == PREVIEW_IMAGE_WITH_METADATA:
        return _preview_with_metadata(body)
    return Unknown(name=f"binary {kind}")


def _split(body: bytes) -> tuple[bytes, bytes]:
    """Part `[length][that many bytes][rest]`."""
    end = 4 + int.from_bytes(body[:4], "big")
    return body[4:end], body[end:]


def _preview_with_metadata(body: bytes) -> Message:
    metadata, image = _split(body)
    try:
        about = loose_json.as_object(loose_json.read(metadata))
    except ValueError as error:
        return Garbage(why=f"preview metadata: {error}")
    return Preview(
        prompt_id=loose_json.as_text(about.get("prompt_id")) or None,
        node=loose_json.as_text(about.get("node_id")) or None,
        size_bytes=len(image),
    )
