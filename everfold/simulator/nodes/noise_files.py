"""Files of a wanted size that cost next to nothing to make: a picture or a video of noise.

Rule: the same seed makes the same bytes, and another seed others, at every size.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

KINDS = ["png", "mp4"]

_BLOCK_BYTES = 2**20
_ROW_PIXELS = 512


def write_noise(path: Path, kind: str, size_bytes: int, seed: int) -> None:
    """Write about `size_bytes`: a PNG that shows noise, or an MP4 that no player shows."""
    chunks = _png(size_bytes, seed) if kind == "png" else _mp4(size_bytes, seed)
    with path.open("wb") as file:
        file.writelines(chunks)


def _noise(size_bytes: int, seed: int) -> Iterator[bytes]:
    block = random.Random(seed).randbytes(_BLOCK_BYTES)
    for number in range(0, size_bytes, _BLOCK_BYTES):
        whole = struct.pack(">QQ", seed & 2**64 - 1, number) + block[16:]
        yield whole[: size_bytes - number]


def _png(size_bytes: int, seed: int) -> Iterator[bytes]:
    row_bytes = 1 + _ROW_PIXELS * 3
    height = max(1, size_bytes // row_bytes)
    pixels = bytearray(b"".join(_noise(height * row_bytes, seed)))
    pixels[::row_bytes] = bytes(height)  # no row is filtered
    header = struct.pack(">2I5B", _ROW_PIXELS, height, 8, 2, 0, 0, 0)
    yield b"\x89PNG\r\n\x1a\n"
    yield _chunk(b"IHDR", header)
    yield _chunk(b"IDAT", zlib.compress(pixels, 0))
    yield _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _mp4(size_bytes: int, seed: int) -> Iterator[bytes]:
    yield struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"mp41")
    yield struct.pack(">I4sQ", 1, b"mdat", size_bytes + 16)
    yield from _noise(size_bytes, seed)
