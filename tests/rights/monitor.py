"""What one user sends to a server: the commands of its clients and of their scripts, with keys.

Rule: that user comes over TCP, all others over the server's Unix socket. MONITOR shows what a
script does right behind the command that runs it.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')
LINE = re.compile(rb"^\+[\d.]+ \[\d+ (\S+?)\] ")
TWO_WORDS = {"xgroup", "xinfo", "client", "command", "script", "config", "acl", "memory", "object"}
SCRIPTS = {"eval", "evalsha", "eval_ro", "evalsha_ro"}


class Sent:
    """What was seen so far."""

    def __init__(self, namespace: str) -> None:
        self.direct: set[str] = set()
        """Commands of the client itself."""
        self.inside: set[str] = set()
        """Commands that its scripts sent."""
        self.hashes: set[str] = set()
        """SHA-1 of its scripts."""
        self.keys: set[tuple[str, str]] = set()
        """Command and key, as the client itself named them."""
        self.touched: set[tuple[str, str]] = set()
        """The same for what its scripts did."""
        self._is_key = re.compile(rf"\{{?{re.escape(namespace)}:")

    def note(self, words: list[str], *, is_inside: bool) -> None:
        name = words[0].lower()
        if name in TWO_WORDS and len(words) > 1:
            name = f"{name}|{words[1].lower()}"
        (self.inside if is_inside else self.direct).add(name)
        keys = words[1:]
        if name in SCRIPTS:
            self.hashes.add(words[1] if name.startswith("evalsha") else _hash(words[1]))
            keys = words[3 : 3 + int(words[2])]
        elif name in ("publish", "subscribe", "unsubscribe"):
            keys = []
        pairs = {(name, key) for key in keys if self._is_key.match(key)}
        (self.touched if is_inside else self.keys).update(pairs)


@contextmanager
def monitored(path: str, namespace: str) -> Iterator[Sent]:
    """Look at all that comes to the server of this Unix socket over TCP, until the context ends."""
    sent = Sent(namespace)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        lines = connection.makefile("rb")
        connection.sendall(b"MONITOR\r\n")
        assert lines.readline().startswith(b"+OK")
        reader = threading.Thread(target=_read, args=(lines, sent), daemon=True)
        reader.start()
        try:
            yield sent
        finally:
            # What was sent before is shown before this.
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(path)
                last.sendall(b"ECHO end-of-monitor\r\n")
                reader.join(10)
            assert not reader.is_alive()


def _read(lines: object, sent: Sent) -> None:
    is_ours = False
    for line in lines:  # type: ignore[attr-defined]
        found = LINE.match(line)
        if not found:
            continue
        source = found[1]
        words = [_text(word) for word in WORD.findall(line[found.end() :])]
        if words[-1:] == ["end-of-monitor"]:
            return
        if source != b"lua":
            is_ours = not source.startswith(b"unix:")
        if is_ours:
            sent.note(words, is_inside=source == b"lua")


def _hash(source: str) -> str:
    return hashlib.sha1(source.encode("latin-1"), usedforsecurity=False).hexdigest()


def _text(word: bytes) -> str:
    return codecs.escape_decode(word)[0].decode("latin-1")
