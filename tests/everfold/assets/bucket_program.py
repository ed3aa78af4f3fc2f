"""Uses a store of blobs by its address, as a process of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from everfold.assets.opening import open_blobs
from everfold.streams.errors import EverfoldError
from tests.support.memory import peak_mib
from tests.support.sources import in_chunks, some_bytes


async def put(url: str, count: str) -> None:
    """Store so many bytes, and print their hash or the error."""
    try:
        print("stored", (await open_blobs(url).put(in_chunks(some_bytes(int(count))))).hash)
    except EverfoldError as error:
        print(type(error).__name__, error)
    print("obstore" in sys.modules)


async def measure(url: str, mebibytes: str) -> None:
    """Store and read zeros, and print how many MiB of memory that took at most."""
    store, chunk = open_blobs(url), bytes(2**20)

    async def zeros() -> AsyncIterator[bytes]:
        for _ in range(int(mebibytes)):
            yield chunk

    await store.put(in_chunks(b"so that everything is imported"))
    before = peak_mib()
    blob = await store.put(zeros())
    async with store.read(blob.hash) as pieces:
        count = sum([len(piece) async for piece in pieces])
    print("read", count, "took", peak_mib() - before)


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
