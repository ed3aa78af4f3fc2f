"""The limits of what a caller or a backend may give: sizes in bytes, texts in characters, nesting.

Rule: pure, and each limit stands here alone. What is accepted within them can be read by every
reader: projector, lists, archive, export, verify, sinks.
"""

from __future__ import annotations

from msgspec import Struct

KIB, MIB = 1024, 1024 * 1024

WORKFLOW_LIMIT_BYTES = 4 * MIB
EXTRA_DATA_LIMIT_BYTES = 4 * MIB
METADATA_LIMIT_BYTES = 64 * KIB
EVENT_LIMIT_BYTES = MIB
OUTPUT_LIMIT_BYTES = 256 * KIB
BATCH_LIMIT_BYTES = 256 * KIB
READ_LIMIT_BYTES = 512 * KIB

NESTING_LIMIT = 64
EVENT_NESTING = NESTING_LIMIT + 8
"""Levels of an event's JSON: it stands around metadata or outputs."""
STORED_NESTING = EVENT_NESTING + 8
"""Levels of any other JSON that is read: lines of archives and states stand around events."""

BACKEND_NESTING = 400
"""Levels of what a backend answers. Of outputs deeper than NESTING_LIMIT the rest is recorded."""

ID_LIMIT = 200
NAME_LIMIT = 64
EVENT_ID_LIMIT = 64
REASON_LIMIT = 1_000
TAG_LIMIT = 64
"""Of one tag."""
TAGS_LIMIT = 16
"""Tags of one job."""
NEEDS_LIMIT = 20
INPUTS_LIMIT = 100
"""Files that one job sends."""
INPUT_LIMIT_BYTES = 5 * 1024 * MIB
"""Of one file that a job sends; ComfyUI itself takes 100 MB unless it is started with another."""
FETCH_LIMIT_BYTES = 512 * MIB
"""Of one file that is read from a URL."""
FETCH_WITHIN_S = 300.0
"""For the whole of it, redirects included."""
USER_FILE_LIMIT_BYTES = 4 * MIB
"""Of one file that a user keeps in a namespace."""
USER_FILES_LIMIT = 1_000
"""Files of one user there."""
USER_FILES_LIMIT_BYTES = 32 * MIB
"""Of all of them together."""
USER_SETTINGS_LIMIT = 1_000
"""Settings of one user."""
USER_SETTINGS_LIMIT_BYTES = MIB
"""Of all of them together, names and values."""
PARTNER_KEY_LIMIT = 8_192
CALLBACK_LIMIT = 2_000
TRACEBACK_LIMIT_BYTES = 16 * KIB
NODES_LIMIT = 1_000
"""Node ids in one list of an event, and as many characters of each as a name may have."""
BACKEND_LIMIT = 2_000
"""Of a backend's name, which is its address."""

LEAST_WHOLE, MOST_WHOLE = -(2**63), 2**64 - 1
"""Integers in graphs and metadata: other languages hold no larger ones; seeds need 64 bits."""

LAST_DATE_MS = 253_402_300_799_999
"""The end of the year 9999, Unix ms: no date can show a later time."""


class Limit(Struct, frozen=True):
    """One row of the table of limits."""

    what: str
    most: int
    unit: str
    why: str


LIMITS = (
    Limit(
        "graph",
        WORKFLOW_LIMIT_BYTES,
        "bytes",
        "Of its JSON without spaces. Large real graphs have a few hundred KiB.",
    ),
    Limit(
        "extra data",
        EXTRA_DATA_LIMIT_BYTES,
        "bytes",
        "Of its JSON: what ComfyUI takes beside a graph, such as the editor's workflow.",
    ),
    Limit(
        "metadata",
        METADATA_LIMIT_BYTES,
        "bytes",
        "Of its JSON. It is kept in the log and in every state.",
    ),
    Limit(
        "event",
        EVENT_LIMIT_BYTES,
        "bytes",
        "Of its JSON; a runner may be given another limit. Every server takes values of this size.",
    ),
    Limit(
        "output",
        OUTPUT_LIMIT_BYTES,
        "bytes",
        "Of one node's JSON in an event. More is left out with a mark: pictures belong into files.",
    ),
    Limit(
        "batch",
        BATCH_LIMIT_BYTES,
        "bytes",
        "Of the events in one write. A larger event is written alone, so that a slow link can "
        "carry each write in time.",
    ),
    Limit(
        "read",
        READ_LIMIT_BYTES,
        "bytes",
        "Of the events in one answer of the server, but for one that is larger alone: a server "
        "ends connections whose answers are too large.",
    ),
    Limit(
        "nesting",
        NESTING_LIMIT,
        "levels",
        "Of graphs, metadata and outputs: lists and objects in one another, the outermost one "
        "included. Every reader has a stack for that.",
    ),
    Limit(
        "text",
        ID_LIMIT,
        "characters",
        "Of job ids, users, kinds and idempotency keys. They are part of keys and of every state.",
    ),
    Limit(
        "name",
        NAME_LIMIT,
        "characters",
        "Of queues, namespaces, runners, subscriptions and batches.",
    ),
    Limit("tag", TAG_LIMIT, "characters", "Of one tag: an index holds it for each of its jobs."),
    Limit("tags", TAGS_LIMIT, "tags", "Of one job: each is one more entry in an index."),
    Limit(
        "event id",
        EVENT_ID_LIMIT,
        "characters",
        "The head of a job keeps several of them.",
    ),
    Limit("needs", NEEDS_LIMIT, "labels", "That one job asks of its backend."),
    Limit("inputs", INPUTS_LIMIT, "files", "That one job sends to its server."),
    Limit("traceback", TRACEBACK_LIMIT_BYTES, "bytes", "Of a failed node; its end is kept."),
    Limit("nodes", NODES_LIMIT, "node ids", "That were cached, or executed, in one attempt."),
    Limit("partner key", PARTNER_KEY_LIMIT, "characters", "Tokens of partner nodes are shorter."),
    Limit("callback", CALLBACK_LIMIT, "characters", "Of the URL that is told of a job's end."),
    Limit("reason", REASON_LIMIT, "characters", "Of a cancel: one line for lists."),
)
