"""Channels of stored pictures, and pictures with another transparency.

Rule: a process of its own decodes them, without the secrets of this one, see thumbnails.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import IO, Literal

import anyio
from anyio import CapacityLimiter

from everfold.assets.shrinking import FORMATS
from everfold.assets.thumbnails import FILE_LIMIT_BYTES, can_make_thumbnails, output_of
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.sniffing.media_types import describe

PROGRAM = ("-P", "-m", "everfold.assets.compositing")
WITHIN_S = 30.0
MADE_LIMIT_BYTES = 256 * 2**20
AT_ONCE = 2
"""Pictures that are decoded at the same time: each may take a gigabyte."""

Operation = Literal["rgb", "a", "mask"]


class Channels:
    """Makes pictures out of stored ones."""

    def __init__(self) -> None:
        self._few = CapacityLimiter(AT_ONCE)

    async def make(
        self, store: AssetStore, operation: Operation, pictures: Sequence[Asset]
    ) -> bytes:
        """Return a PNG, see compositing.py; empty where none can be made: something is no picture,
        too large, damaged, or Pillow is not here. Raises what reading the store raises."""
        fit = all(
            one.media_type in FORMATS and one.size_bytes <= FILE_LIMIT_BYTES for one in pictures
        )
        if not fit or not can_make_thumbnails():
            return b""
        async with self._few:
            with tempfile.TemporaryFile() as file:  # without a name, so a kill leaves none behind
                file.write(pictures[0].size_bytes.to_bytes(8, "big"))
                for one in pictures:
                    async with store.open(one.hash) as chunks:
                        async for chunk in chunks:
                            file.write(chunk)
                file.seek(0)
                with anyio.move_on_after(WITHIN_S):
                    return await _composed(file, operation)
        return b""


async def _composed(pictures: IO[bytes], operation: Operation) -> bytes:
    made = await output_of((*PROGRAM, operation), pictures, MADE_LIMIT_BYTES)
    return made if describe(made[:4096]).media_type == "image/png" else b""
