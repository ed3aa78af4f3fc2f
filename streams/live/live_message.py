"""What a backend says of an attempt that runs, as values that are passed on and not kept.

Rule: pure. Hints for people who look on, lost without harm; the log never has them, and nothing is
decided by them. What a server wrote is data here: bounded, and read only as these types.
"""

from __future__ import annotations

from typing import cast

import msgspec
from msgspec import Struct

from everfold.streams.events.json_text import UNDECODABLE, decoder

MESSAGE_LIMIT_BYTES = 32 * 1024
"""Of one message as JSON; a larger one is not passed on, and the log tells of it later."""
PREVIEW_LIMIT_BYTES = 512 * 1024
"""Of one picture; a larger one is not shown."""
PREVIEW_TTL_S = 30
"""So long the newest one of a job is kept."""


_SHORT = {"value": "v", "most": "m", "is_finished": "f", "display": "d", "parent": "p", "real": "r"}


class _Message(Struct, frozen=True, omit_defaults=True, tag_field="t"):
    """What all have in common."""


class Began(_Message, frozen=True, tag="began"):
    """The attempt begins to run."""


class Cached(_Message, frozen=True, tag="cached"):
    """The nodes whose results come from the backend's cache."""

    nodes: list[str] = []


class NodeBegan(_Message, frozen=True, tag="node"):
    """A node begins to run."""

    node: str
    display: str = ""
    """The node of the graph that it belongs to; empty: itself."""


class Steps(_Message, frozen=True, tag="steps"):
    """A node has done `value` of `most` steps."""

    node: str
    value: float
    most: float


class NodeState(Struct, frozen=True, omit_defaults=True, rename=_SHORT.get):
    """How far one node is. Its names are short: a message has one for each node of the graph."""

    value: float = 0.0
    most: float = 1.0
    is_finished: bool = False
    display: str = ""
    """The node of the graph that it belongs to; empty: itself."""
    parent: str = ""
    """The node that it is a part of, empty without one."""
    real: str = ""
    """Its id inside that; empty: its own."""


class States(_Message, frozen=True, tag="states"):
    """How far each node is that runs or has run; cached ones are left out."""

    nodes: dict[str, NodeState] = {}


class NodeOutput(_Message, frozen=True, tag="output"):
    """What a node has put out, as the backend says it; None where it told a node without any."""

    node: str
    display: str = ""
    output: dict[str, object] | None = None


class NodeText(_Message, frozen=True, tag="text"):
    """A node's words for people."""

    node: str
    text: str


class PreviewNotice(_Message, frozen=True, tag="preview"):
    """There is a newer preview of the job; see `live_stream`."""


class Preview(Struct, frozen=True):
    """A picture of a node that is not done yet, as its backend sent it."""

    node: str
    """Empty where that is not known."""
    media_type: str
    image: bytes


Streamed = Began | Cached | NodeBegan | Steps | States | NodeOutput | NodeText | PreviewNotice
"""What the stream carries."""

LiveMessage = Began | Cached | NodeBegan | Steps | States | NodeOutput | NodeText | Preview
"""What a backend says."""

CONTENT = (NodeOutput, NodeText, Preview)
"""What may hold a user's content, and is not passed on where that is sealed."""


class LiveEntry(Struct, frozen=True):
    """One message about one attempt of a job."""

    job_id: str
    attempt: int
    """Counts from 1: what is said of an attempt that is over counts nothing."""
    message: Streamed
    time_ms: int = 0
    """The server's time at which it was passed on, in Unix milliseconds; 0 before that."""


_decode = decoder(cast("type[Streamed]", Streamed))


def encoded(message: Streamed) -> bytes | None:
    """Return a message as JSON; None where it is too large, or no JSON."""
    try:
        text = msgspec.json.encode(message)
    except UNDECODABLE:
        return None
    return text if len(text) <= MESSAGE_LIMIT_BYTES else None


def decoded(text: bytes) -> Streamed | None:
    """Return a message; None for one that nobody here writes."""
    if len(text) > MESSAGE_LIMIT_BYTES:
        return None
    try:
        return _decode(text)
    except ValueError:
        return None
