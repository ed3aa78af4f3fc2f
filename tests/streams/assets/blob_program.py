"""Uses a folder of blobs as a process of its own: python -m tests.streams.assets.blob_program.

It prints a line for each thing that it has done.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from functools import wraps

from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.assets.blob_store import CHUNK_BYTES
from everfold.streams.errors import EverfoldError
from tests.support.memory import peak_mib
from tests.support.sources import in_chunks, some_bytes

WATCHED = ("open", "mkdir", "fsync", "fstat", "utime", "rename", "unlink")
"""The system calls that a put makes, besides writing and closing."""


def content(seed: int) -> bytes:
    return some_bytes(CHUNK_BYTES // 3 * seed + seed, seed)


async def put(folder: str, *seeds: str) -> None:
    """Store the bytes of some seeds, one after another."""
    store = BlobFolder(folder)
    for seed in map(int, seeds):
        blob = await store.put(in_chunks(content(seed)))
        print("stored", blob.hash)


async def die(folder: str, at: str, *seeds: str) -> None:
    """Do the same, killed right after a system call; without a kill it says `ended`."""
    left = int(at)

    def deadly(name: str, call: Callable[..., object]) -> Callable[..., object]:
        @wraps(call)
        def watched(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            found = call(*arguments, **named)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return watched

    for name in WATCHED:
        setattr(os, name, deadly(name, getattr(os, name)))
    await put(folder, *seeds)
    print("ended")


async def trickle(folder: str) -> None:
    """Put bytes without end."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(CHUNK_BYTES)
            print("piece")
            await asyncio.sleep(0.01)

    await BlobFolder(folder).put(endless())


async def fail(folder: str, most: str) -> None:
    """Store bytes where no file may be larger than `most` bytes (0: any), and print the error."""
    if int(most):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
    try:
        await put(folder, "1")
        await put(folder, "60")
    except EverfoldError as error:
        print(type(error).__name__, error)
    print(*sorted(os.listdir(f"{folder}/parts")), "in parts")
    await put(folder, "2")


async def measure(folder: str, mebibytes: str, chunk_bytes: str) -> None:
    """Store and read zeros, and print how many MiB of memory that took at most."""
    store, size = BlobFolder(folder), int(mebibytes) * 2**20
    chunk = bytes(int(chunk_bytes))

    async def zeros() -> AsyncIterator[bytes]:
        for _ in range(size // len(chunk)):
            yield chunk

    await store.put(in_chunks(b"so that everything is imported"))
    before = peak_mib()
    blob = await store.put(zeros())
    async with store.read(blob.hash) as pieces:
        count = sum([len(piece) async for piece in pieces])
    print("read", count, "took", peak_mib() - before)


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
