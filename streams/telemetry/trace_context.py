"""W3C trace context: which trace a job belongs to, and which span in it is whose.

Rule: pure. What comes from outside and is no traceparent is ignored; it is never an error and never
stored. Ids of spans are made from what they tell of, so that each process names a span alike.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from msgspec import Struct

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-[!-~]*)?"
)
"""A later version may have more behind the flags; it is not kept."""

LONGEST = 512
"""Characters of a traceparent that are looked at."""

_SAMPLED = 1


class TraceContext(Struct, frozen=True):
    """One span of one trace."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    is_sampled: bool = True

    def __str__(self) -> str:
        """Return the traceparent."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"

    def child(self, *told: object) -> TraceContext:
        """Return the span of the same trace that is made from these words."""
        return TraceContext(self.trace_id, derived(8, self.trace_id, *told), self.is_sampled)


def read_traceparent(text: object) -> TraceContext | None:
    """Return what a traceparent says; None for anything that is none."""
    if not isinstance(text, str) or len(text) > LONGEST:
        return None
    found = _TRACEPARENT.fullmatch(text.strip(" \t"))
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
        return None
    if set(found["trace"]) == {"0"} or set(found["span"]) == {"0"}:
        return None
    return TraceContext(found["trace"], found["span"], bool(int(found["flags"], 16) & _SAMPLED))


def derived(size_bytes: int, *told: object) -> str:
    """Return an id of so many bytes, in hexadecimal, made from these words."""
    words = "\0".join(map(str, told)).encode(errors="replace")
    return blake2b(words, digest_size=size_bytes, person=b"everfold trace").hexdigest()
