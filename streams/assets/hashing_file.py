"""A file that is being written, with the hash of what is in it, and filling it from a source.

Rule: memory is bounded whatever the chunks of the source, and the event loop waits for no disk.
A task that is cancelled leaves a thread behind that still writes: a lock keeps it from a handle
that was closed, which may be another file's by then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from io import FileIO
from threading import Lock
from time import perf_counter

import anyio.lowlevel
from blake3 import blake3

from everfold.streams.assets.asset import HASH_PREFIX
from everfold.streams.assets.blob_store import BEGINNING_BYTES, CHUNK_BYTES, Blob
from everfold.streams.errors import HashMismatch, TooLarge

TURN_S = 0.002
"""How long a source that never waits may keep the event loop."""


class HashingFile:
    """Writes to the file that `opening` opens, with the first bytes or at the end. Calls block."""

    def __init__(self, opening: Callable[[], FileIO]) -> None:
        self._opening, self._lock = opening, Lock()
        self._file: FileIO | None = None
        self._is_closed = False
        self._hash = blake3()
        self._beginning, self._size_bytes = b"", 0

    @property
    def blob(self) -> Blob:
        """What was written so far."""
        digits = self._hash.hexdigest()
        return Blob(f"{HASH_PREFIX}{digits}", self._size_bytes, self._beginning)

    @property
    def is_stopped(self) -> bool:
        """Whether nobody waits any more for what a thread does with it."""
        return self._is_closed

    def write(self, piece: memoryview) -> None:
        """Add bytes to the end. Raises OSError."""
        self._use(partial(self._write, piece))

    def finish(self, done: Callable[[FileIO], None]) -> None:
        """Call `done` with the file, after all that was written. Raises what it raises."""
        self._use(done)

    def close(self) -> None:
        """Close the file, now and for good; waits for a thread that uses it."""
        self._is_closed = True
        with self._lock:
            self._close()

    def stop(self) -> None:
        """Close the file for good, without waiting: a thread that uses it closes it."""
        self._is_closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def _use(self, use: Callable[[FileIO], None]) -> None:
        try:
            with self._lock:
                use(self._opened())
        finally:
            # Whoever stopped it meanwhile could not close it.
            if self._is_closed:
                self.stop()

    def _write(self, piece: memoryview, file: FileIO) -> None:
        self._hash.update(piece)
        if (missing := BEGINNING_BYTES - self._size_bytes) > 0:
            self._beginning += bytes(piece[:missing])
        self._size_bytes += len(piece)
        while piece:
            piece = piece[file.write(piece) :]

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _opened(self) -> FileIO:
        if self._is_closed:
            raise OSError("the transfer has ended")
        if self._file is None:
            self._file = self._opening()
        return self._file


async def fill(
    write: Callable[[memoryview], Awaitable[None]],
    source: AsyncIterator[bytes],
    expected_bytes: int | None,
    most_bytes: int,
) -> None:
    """Pass all that `source` yields to `write`, in pieces of CHUNK_BYTES and a last one.

    Raises TooLarge, or HashMismatch as soon as there are more bytes than expected.
    """
    buffer = bytearray()  # for a short source it stays short
    waiting, count, turn_s = 0, 0, perf_counter()
    async for chunk in source:
        count += len(chunk)
        _check_length(count, expected_bytes, most_bytes)
        rest = memoryview(chunk)
        while rest:
            taken = min(CHUNK_BYTES - waiting, len(rest))
            if taken == CHUNK_BYTES:
                await write(rest[:taken])
            else:
                buffer[waiting : waiting + taken] = rest[:taken]
                waiting += taken
            if waiting == CHUNK_BYTES:
                await write(memoryview(buffer))
                waiting = 0
            rest = rest[taken:]
        if perf_counter() - turn_s > TURN_S:
            await anyio.lowlevel.checkpoint()
            turn_s = perf_counter()
    if waiting:
        await write(memoryview(buffer)[:waiting])


def _check_length(count: int, expected_bytes: int | None, most_bytes: int) -> None:
    if count > most_bytes:
        raise TooLarge("a stored file", count, most_bytes)
    if expected_bytes is not None and count > expected_bytes:
        length = f"{expected_bytes:,} bytes"
        raise HashMismatch(length, f"a length of more than {length}")


def check_blob(found: Blob, expected_hash: str, expected_bytes: int | None) -> None:
    """Raise HashMismatch where the bytes are not those that were expected."""
    if expected_bytes is not None and found.size_bytes != expected_bytes:
        length = f"a length of {found.size_bytes:,} bytes"
        raise HashMismatch(f"{expected_bytes:,} bytes", length)
    if expected_hash and found.hash != expected_hash:
        raise HashMismatch(expected_hash, found.hash)
