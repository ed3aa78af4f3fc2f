"""Keeps what ComfyUI says of one prompt, in the words in which it is passed on to those who look.

Rule: no I/O and no clock. Nothing is kept while nobody wants it. Bounded: the oldest is dropped,
and of previews there is one. An end is not passed on: the log alone says how a job ended.
"""

from __future__ import annotations

from collections import deque

from everfold.runner.comfyui import messages
from everfold.streams.live.live_message import (
    Began,
    Cached,
    LiveMessage,
    NodeBegan,
    NodeOutput,
    NodeState,
    NodeText,
    Preview,
    States,
    Steps,
)

MOST_KEPT = 256
MOST_NODES = 1_000
"""Of one message that lists nodes; a longer one is left out."""
TYPES = ((b"\xff\xd8", "image/jpeg"), (b"\x89PNG", "image/png"), (b"RIFF", "image/webp"))


class Said:
    """What was said since the last `take`."""

    def __init__(self) -> None:
        self._is_wanted = False
        self._kept = deque[LiveMessage](maxlen=MOST_KEPT)

    def set_wanted(self, is_wanted: bool) -> None:
        """Keep what is said from now on, or nothing."""
        self._is_wanted = is_wanted
        if not is_wanted:
            self._kept.clear()

    def add(self, message: messages.Message, node: str) -> None:
        """Keep one message of this prompt; `node` is the one that runs."""
        told = _told(message, node) if self._is_wanted else None
        if told is None:
            return
        if isinstance(told, Preview):
            earlier = next((one for one in self._kept if isinstance(one, Preview)), None)
            if earlier is not None:
                self._kept.remove(earlier)
        self._kept.append(told)

    @property
    def has_news(self) -> bool:
        return bool(self._kept)

    def take(self) -> tuple[LiveMessage, ...]:
        """Return what is kept, and keep it no longer."""
        taken = tuple(self._kept)
        self._kept.clear()
        return taken


def _told(message: messages.Message, node: str) -> LiveMessage | None:
    match message:
        case messages.ExecutionStart():
            return Began()
        case messages.ExecutionCached(nodes=nodes):
            return Cached(nodes) if len(nodes) <= MOST_NODES else None
        case messages.Executing(node=str() as begun, display_node=display):
            return NodeBegan(begun, _other(display, begun))
        case messages.ProgressValue(node=of, node_id=other, value=value, max=most):
            return Steps(of or other or node, value, most)
        case messages.ProgressState(nodes=nodes) if len(nodes) <= MOST_NODES:
            return States({name: _state(name, state) for name, state in nodes.items()})
        case messages.Executed(node=of, display_node=display, output=output):
            return NodeOutput(of, _other(display, of), output)
        case messages.NodeText(node=of, text=text):
            return NodeText(of, text)
        case messages.Preview(image=image, node=of) if image:
            return Preview(of or node, _media_type(image), image)
    return None


def _state(name: str, state: messages.NodeState) -> NodeState:
    return NodeState(
        value=state.value,
        most=state.max,
        is_finished=state.state == "finished",
        display=_other(state.display_node_id, name),
        parent=state.parent_node_id or "",
        real=_other(state.real_node_id, name),
    )


def _other(node: str | None, name: str) -> str:
    """Return a node's other id, empty where it is the same."""
    return node if node is not None and node != name else ""


def _media_type(image: bytes) -> str:
    found = (name for start, name in TYPES if image.startswith(start))
    return next(found, "application/octet-stream")
