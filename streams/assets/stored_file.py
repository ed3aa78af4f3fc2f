"""A stored file that is being read, or a part of it.

Rule: a task that is cancelled leaves a thread behind that still reads: a lock keeps it from a
handle that was closed, which may be another file's by then.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from io import FileIO
from threading import Lock

from everfold.streams.assets.blob_store import CHUNK_BYTES


class StoredFile:
    """Reads from `start` up to `end` of the file that `opening` opens. Calls block."""

    def __init__(self, opening: Callable[[], FileIO], start: int, end: int | None) -> None:
        self._opening, self._start, self._end = opening, start, end
        self._lock = Lock()
        self._file: FileIO | None = None
        self._is_closed = False
        self._left = 0

    def open(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._file = self._opening()
                size = os.fstat(self._file.fileno()).st_size
                end = size if self._end is None else min(self._end, size)
                self._left = max(end - self._file.seek(max(self._start, 0)), 0)

    def next(self) -> bytes:
        """Return the next bytes, none at the end. Raises OSError where the file became shorter."""
        with self._lock:
            if self._file is None or self._is_closed or not self._left:
                return b""
            piece = self._file.read(min(CHUNK_BYTES, self._left))
            if not piece:
                raise OSError(errno.EIO, f"the file ends {self._left:,} bytes too early")
            self._left -= len(piece)
            return piece

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._file is not None:
                self._file.close()
