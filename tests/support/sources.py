"""Bytes as they come from a network: in chunks of any size."""

from __future__ import annotations

from collections.abc import AsyncIterator

from blake3 import blake3


async def in_chunks(content: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def hash_of(content: bytes) -> str:
    return f"blake3:{blake3(content).hexdigest()}"


def some_bytes(count: int, seed: int = 0) -> bytes:
    """Return bytes that look like no other seed's."""
    return blake3(seed.to_bytes(8, "big")).digest(length=count)
