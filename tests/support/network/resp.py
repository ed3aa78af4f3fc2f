"""Where one message of the Redis protocol ends and the next begins, in RESP2 and RESP3.

Rule: pure, and nothing is decoded: messages are passed on as the bytes that came. Source: the
RESP specification on redis.io.
"""

from __future__ import annotations

LINE_END = b"\r\n"
SIZED = b"$=!"
"""Types whose line says how many bytes follow."""
CONTAINERS = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
"""Types whose line says how many elements follow, and how many messages an element is."""


class Incomplete(Exception):
    """The bytes end within a message."""


def split(received: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete messages in `received` and the bytes that are left over."""
    messages, start = list[bytes](), 0
    try:
        while start < len(received):
            end = _end_of_message(received, start)
            messages.append(received[start:end])
            start = end
    except Incomplete:
        pass
    return messages, received[start:]


def is_push(message: bytes) -> bool:
    """Say whether the server sent it unasked (RESP3)."""
    return message.startswith(b">")


def _end_of_message(received: bytes, start: int) -> int:
    """Return where the message that begins at `start` ends."""
    left, end = 1, start
    while left:
        line_end = received.find(LINE_END, end)
        if line_end < 0:
            raise Incomplete
        kind, line = received[end], received[end + 1 : line_end]
        end = line_end + len(LINE_END)
        left -= 1
        if kind in SIZED and int(line) >= 0:
            end += int(line) + len(LINE_END)
        elif kind in CONTAINERS:
            left += max(int(line), 0) * CONTAINERS[kind]
            # An attribute precedes the message that it belongs to.
            left += kind == ord("|")
        if end > len(received):
            raise Incomplete
    return end
