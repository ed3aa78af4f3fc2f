"""Writes a log to a file descriptor from a thread of its own: nobody waits for who reads it.

Rule: a log that is full, closed, or read by nobody ends nothing and blocks nothing. Lines wait in
memory up to a bound; what does not fit is counted, and the count is written once there is room.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections import deque

from everfold.streams.border.line_limits import LineLimits
from everfold.streams.border.log_fields import set_fields

LINES_LIMIT, BYTES_LIMIT = 10_000, 4 * 1024 * 1024
"""What waits to be written at most."""

LAST_WORDS_WITHIN_S = 1.0
"""How long the end of a process waits for its last lines to be read."""

AGAIN_EVERY_S = 0.5

JOBS = "everfold.jobs"
"""The logger of what happens to jobs; its lines are never left out for being many."""


class LogWriter(logging.Handler):
    """A handler of logging that writes to where `descriptor` leads, until it is closed."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = os.dup(descriptor)  # whoever closes the other one gets none of ours
        self._limits = LineLimits()
        self._lines = deque[bytes]()
        self._bytes = self._lost = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._owner = 0
        """The process whose thread that is: a fork does not have it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record for writing; returns at once."""
        try:
            self._emit(record)
        except Exception:  # whatever it is: a line is never worth the work that it tells of
            self._lost += 1

    def _emit(self, record: logging.LogRecord) -> None:
        if record.name != JOBS:
            kind = getattr(record, "event", record.name)
            may_pass, left_out = self._limits.take(str(kind), time.monotonic())
            if left_out:
                self._add(self._said("lines_left_out of=%s count=%d", str(kind), left_out))
            if not may_pass:
                return
        self._add(self.format(record))

    def _add(self, text: str) -> None:
        line = text.encode(errors="backslashreplace") + b"\n"
        with self._changed:
            is_full = len(self._lines) >= LINES_LIMIT or self._bytes + len(line) > BYTES_LIMIT
            if is_full or self._is_closed:
                self._lost += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            self._changed.notify_all()
        if self._thread is None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
            self._thread.start()

    def flush(self) -> None:
        """Wait until all is written, LAST_WORDS_WITHIN_S at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines, LAST_WORDS_WITHIN_S)

    def close(self) -> None:
        """Write the last lines, LAST_WORDS_WITHIN_S at most, and take no more."""
        self.flush()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        super().close()

    def _write_all(self) -> None:
        while not self._is_closed:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._is_closed)
                line, lost = self._lines[0] if self._lines else b"", self._lost
                self._lost = 0
            if lost:
                self._write(self._said("lines_lost count=%d", lost).encode() + b"\n")
            self._write(line)
            with self._changed:
                if line:
                    self._lines.popleft()
                self._bytes -= len(line)
                self._changed.notify_all()
        os.close(self._descriptor)

    def _write(self, line: bytes) -> None:
        """Write a line, or lose it where the file is full or closed."""
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:  # somebody else made it one that does not wait
                with contextlib.suppress(OSError, ValueError):
                    select.select([], [self._descriptor], [], AGAIN_EVERY_S)
            except OSError:
                return

    def _said(self, form: str, *values: object) -> str:
        record = logging.LogRecord("everfold.log", logging.WARNING, "", 0, form, values, None)
        set_fields(record)
        return self.format(record)
