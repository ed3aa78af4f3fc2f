"""ComfyUI's websocket messages as tagged values.

Rule: pure, and `decode` is total: a frame of no use becomes `Unknown` or `Garbage` and never an
exception. A field that makes no sense keeps its default and does not cost the rest of the frame.
A message is a hint: that ComfyUI says a prompt has ended does not make it true.
Source: ComfyUI 0.3.64.
"""

from __future__ import annotations

import math
from typing import TypeVar

import msgspec
from msgspec import UNSET, Struct, structs

from everfold.runner import loose_json
from everfold.streams.events.json_text import UNDECODABLE, check_nesting
from everfold.streams.events.limits import BACKEND_NESTING

Fields = TypeVar("Fields", bound=Struct)


class Message(Struct, frozen=True, kw_only=True, tag_field="type"):
    """The fields that all messages share."""

    prompt_id: str | None = None
    """None where ComfyUI leaves it out: bare previews, texts, `executing` on reconnect."""


class ExecutionStart(Message, frozen=True, kw_only=True, tag="execution_start"):
    """The prompt begins to run."""


class ExecutionCached(Message, frozen=True, kw_only=True, tag="execution_cached"):
    """The nodes whose results come from the cache."""

    nodes: list[str] = []


class Executing(Message, frozen=True, kw_only=True, tag="executing"):
    """A node begins to run. Without a node: the prompt is over and its history entry exists."""

    node: str | None = None
    display_node: str | None = None


class ProgressValue(Message, frozen=True, kw_only=True, tag="progress"):
    """A node has done `value` of `max` steps."""

    value: float = 0.0
    max: float = 0.0
    node: str | None = None
    node_id: str | None = None
    """What some custom nodes say in place of `node`."""


class NodeState(Struct, frozen=True, kw_only=True):
    """One node in a ProgressState: `value` of `max` steps are done."""

    value: float = 0.0
    max: float = 1.0
    state: str = "running"
    display_node_id: str | None = None
    parent_node_id: str | None = None
    real_node_id: str | None = None


class ProgressState(Message, frozen=True, kw_only=True, tag="progress_state"):
    """The state of every node that runs or has run; cached nodes are left out."""

    nodes: dict[str, NodeState] = {}


class Executed(Message, frozen=True, kw_only=True, tag="executed"):
    """A node's `ui` outputs. Also sent for cached output nodes, then perhaps without an output."""

    node: str = ""
    display_node: str | None = None
    output: dict[str, object] | None = None


class ExecutionSuccess(Message, frozen=True, kw_only=True, tag="execution_success"):
    """The prompt has succeeded; its history entry does not exist yet."""


class ExecutionError(Message, frozen=True, kw_only=True, tag="execution_error"):
    """A node has raised an exception."""

    exception_type: str = ""

    @property
    def is_terminal(self) -> bool:
        """False for ExecutionBlocked, after which the prompt goes on and may succeed."""
        return self.exception_type != "ExecutionBlocked"


class ExecutionInterrupted(Message, frozen=True, kw_only=True, tag="execution_interrupted"):
    """The prompt was interrupted."""


class Preview(Message, frozen=True, kw_only=True, tag="preview"):
    """A preview image, binary types 1 and 4."""

    node: str | None = None
    image: bytes = b""
    """Encoded: JPEG or PNG."""


class NodeText(Message, frozen=True, kw_only=True, tag="text"):
    """A node's text for people, binary type 3."""

    node: str = ""
    text: str = ""


class Unknown(Message, frozen=True, kw_only=True, tag="unknown"):
    """A message of a type that is not used here or not known; to be ignored."""

    name: str


class Garbage(Message, frozen=True, kw_only=True, tag="garbage"):
    """Not a message; to be ignored."""

    why: str


KINDS: tuple[type[Message], ...] = (
    ExecutionStart,
    ExecutionCached,
    Executing,
    ProgressValue,
    ProgressState,
    Executed,
    ExecutionSuccess,
    ExecutionError,
    ExecutionInterrupted,
)
"""The text messages of ComfyUI 0.3.64 that say something about a prompt."""

PREVIEW_IMAGE, TEXT, PREVIEW_IMAGE_WITH_METADATA = 1, 3, 4
"""Binary event types; 2 never leaves the server."""


MOST_FRAME_VALUES = 100_000
"""A graph of 10,000 nodes has fewer in its largest message. The history has all outputs too."""


class _Frame(Struct, frozen=True):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


_KIND_BY_NAME = {str(kind.__struct_config__.tag): kind for kind in KINDS}
_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in _KIND_BY_NAME.items()}
_FRAME_DECODER = msgspec.json.Decoder(_Frame)


def decode(frame: str | bytes) -> Message:
    """Return the message in one websocket frame, text or binary; never raises."""
    try:
        return _decode_binary(frame) if isinstance(frame, bytes) else _decode_text(frame)
    except Exception as error:  # nothing that a server sends may end the reader
        return Garbage(why=str(error))


def _decode_text(frame: str) -> Message:
    try:
        loose_json.refuse_more_values(frame, MOST_FRAME_VALUES)
        check_nesting(frame, BACKEND_NESTING)
        envelope = _FRAME_DECODER.decode(frame)
        decoder = _DECODERS.get(envelope.type)
        return decoder.decode(envelope.data) if decoder else Unknown(name=envelope.type)
    except loose_json.TooManyValues as error:
        return Garbage(why=str(error))
    except UNDECODABLE:
        return _decode_slowly(frame)


def _decode_slowly(frame: str) -> Message:
    """Read a frame that the strict decoder refuses, such as one with a NaN or an odd field."""
    try:
        envelope = loose_json.as_object(loose_json.read(frame))
        name = loose_json.as_text(envelope.get("type"))
        if not name:
            return Garbage(why="no type")
        kind = _KIND_BY_NAME.get(name)
        data = loose_json.as_object(envelope.get("data"))
        return _read_fields(kind, data) if kind else Unknown(name=name)
    except UNDECODABLE as error:
        return Garbage(why=str(error))


def _read_fields(kind: type[Fields], data: dict[str, object]) -> Fields:
    fields = {
        field.name: _read_field(field.type, data[field.name])
        for field in structs.fields(kind)
        if field.name in data
    }
    return kind(**{name: value for name, value in fields.items() if value is not UNSET})


def _read_field(kind: object, value: object) -> object:
    """Return the value as a field of this type takes it, UNSET when it makes no sense there."""
    if kind is float:
        return _read_number(value)
    if kind == list[str]:
        items = [_read_text(item) for item in loose_json.as_list(value)]
        return [item for item in items if item is not UNSET]
    if kind == dict[str, NodeState]:
        states = loose_json.as_object(value).items()
        return {
            name: _read_fields(NodeState, loose_json.as_object(state)) for name, state in states
        }
    if kind == dict[str, object] | None:
        return value if isinstance(value, dict) else UNSET
    if value is None and kind == str | None:
        return None
    # An odd name is an unknown one: None would say that there is none.
    text = _read_text(value)
    return "" if text is UNSET and kind == str | None else text


def _read_text(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)[:64]
    return value if isinstance(value, str) else UNSET


def _read_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return UNSET
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return UNSET
    return number if math.isfinite(number) else UNSET


def _decode_binary(frame: bytes) -> Message:
    kind, body = int.from_bytes(frame[:4], "big"), frame[4:]
    if len(frame) < 4:
        return Garbage(why=f"a binary frame of {len(frame)} bytes")
    if kind == PREVIEW_IMAGE:
        return Preview(image=body[4:])
    if kind == TEXT:
        node, text = _split(body)
        return NodeText(node=node.decode(errors="replace"), text=text.decode(errors="replace"))
    if kind == PREVIEW_IMAGE_WITH_METADATA:
        return _preview_with_metadata(body)
    return Unknown(name=f"binary {kind}")


def _split(body: bytes) -> tuple[bytes, bytes]:
    """Split `[length, 4 bytes][that many bytes][rest]` into its two parts."""
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
        image=image,
    )
