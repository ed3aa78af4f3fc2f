"""How far the nodes of a running attempt are, put together from what its backend says.

Rule: pure. Of what came since the last message only the newest is told; NODES_LIMIT nodes.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from everfold.streams.live.live_message import (
    Began,
    Cached,
    LiveEntry,
    NodeBegan,
    NodeState,
    NodeText,
    States,
    Steps,
)

NODES_LIMIT = 2_000
TEXT_LIMIT = 1_000
"""Characters of a node's text."""


class LiveNode(Struct, frozen=True):
    """How far one node is."""

    value: float
    most: float
    is_finished: bool


class Live(Struct, frozen=True, kw_only=True):
    """What has changed at a running attempt."""

    job_id: str
    attempt: int
    node: str | UnsetType = UNSET
    """The node that runs now."""
    nodes: dict[str, LiveNode] = {}
    cached: list[str] | UnsetType = UNSET
    """Nodes whose results came from the cache."""
    texts: dict[str, str] = {}
    """A node's words for people."""


class LiveNodes:
    """What is to be told of one job's attempt."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._clear(0)

    def _clear(self, attempt: int) -> None:
        self._attempt = attempt
        self._node: str | UnsetType = UNSET
        self._nodes: dict[str, LiveNode] = {}
        self._cached: list[str] | UnsetType = UNSET
        self._texts: dict[str, str] = {}

    def note(self, entry: LiveEntry) -> None:
        """Take a message in."""
        if entry.attempt != self._attempt:
            self._clear(entry.attempt)
        match entry.message:
            case Began():
                self._clear(entry.attempt)
            case Cached(nodes=nodes):
                self._cached = nodes[:NODES_LIMIT]
            case NodeBegan(node=node):
                self._node = node
            case Steps(node=node, value=value, most=most):
                self._node = node
                self._put(node, LiveNode(value, most, value >= most > 0))
            case States(nodes=nodes):
                for name, state in nodes.items():
                    self._put(name, _live(state))
            case NodeText(node=node, text=text):
                if len(self._texts) < NODES_LIMIT:
                    self._texts[node] = text[:TEXT_LIMIT]
            case _:
                return

    def _put(self, node: str, state: LiveNode) -> None:
        if node in self._nodes or len(self._nodes) < NODES_LIMIT:
            self._nodes[node] = state

    def take(self) -> Live | None:
        """Return what came since the last call; None for nothing."""
        is_empty = self._node is UNSET and self._cached is UNSET
        if is_empty and not self._nodes and not self._texts:
            return None
        told = Live(
            job_id=self._job_id,
            attempt=self._attempt,
            node=self._node,
            nodes=self._nodes,
            cached=self._cached,
            texts=self._texts,
        )
        self._clear(self._attempt)
        return told


def _live(state: NodeState) -> LiveNode:
    return LiveNode(state.value, state.most, state.is_finished)
