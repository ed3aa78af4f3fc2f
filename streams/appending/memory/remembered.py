"""What a process remembers of one write that was acknowledged to it: enough to write it again.

Rule: the bytes are those that were sent, sealed and encoded once. Keys for partner nodes stay a
type that cannot print itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from everfold.streams.appending.outcomes import Appended
from everfold.streams.appending.submitting import NewJob
from everfold.streams.redis.scripts import NewEvent

OWN_BYTES = 400
"""About what one remembered write takes beside its payload and its graph."""

_PREFIX = b'{"type":"job.'

NEVER_TOLD_AGAIN = frozenset({"submitted", "claimed", "recovered", "rewound", "progressed"})
"""A job that is known is not submitted; a lease is not put back, but taken anew; and a number that
has moved on is of no use."""


class Remembered(Struct, frozen=True):
    """One event, as the server acknowledged it."""

    job_id: str
    event_id: str
    seq: int
    entry_id: str
    payload: bytes
    at_s: float
    """When it was acknowledged, as steady_s()."""
    found_by: str = ""
    """The event id that its entry must have; empty where the entry is that of somebody's earlier
    submit or cancel, which this one repeated."""
    append: NewEvent | None = None
    submit: NewJob | None = None
    release: Callable[[], Awaitable[Appended]] | None = None
    """Releases the lease again, if it is still held."""

    @property
    def kind(self) -> str:
        """Return the type of the event without `job.`, such as `submitted`."""
        return kind_of(self.payload)

    @property
    def author(self) -> str:
        """Return under whose ids the head of the job has its event; empty where it has it not."""
        return self.append.author if self.append is not None else ""

    @property
    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        graph = 0 if self.submit is None else len(self.submit.stored.json)
        return OWN_BYTES + len(self.payload) + graph


def kind_of(payload: bytes) -> str:
    """Return the type of an encoded event without `job.`; empty where it does not begin with it."""
    if not payload.startswith(_PREFIX):
        return ""
    return payload[len(_PREFIX) : payload.find(b'"', len(_PREFIX))].decode(errors="replace")
