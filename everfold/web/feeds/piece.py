"""Messages of an event stream, as a connection sends them: made once for all readers.

Rule: pure.
"""

from __future__ import annotations

from msgspec import Struct


class Piece(Struct, frozen=True):
    """One or more whole messages."""

    chunk: bytes
    """As HTTP's chunked coding has them."""
    messages: int

    @classmethod
    def of(cls, content: bytes) -> Piece:
        """Return what is sent of messages. They must not be empty: that would end the answer."""
        return cls(b"%x\r\n%b\r\n" % (len(content), content), message_count(content))


def message_count(content: bytes) -> int:
    """Return the number of messages; a comment is one, too."""
    return content.count(b"\ndata:") or 1
