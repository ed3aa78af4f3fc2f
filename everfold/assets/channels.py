"""Channels of stored pictures, and pictures with another transparency.

Rule: a process of its own decodes them, without the secrets of this one, see thumbnails.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO, Literal

import anyio
from anyio import CapacityLimiter

from everfold.assets.shrinking import FORMATS
from everfold.assets.thumbnails import FILE_LIMIT_BYTES, can_make_thumbnails
from everfold.runner.renewal.renewer_process import environment
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
    process = await anyio.open_process(
        [sys.executable, *PROGRAM, operation],
        stdin=pictures,
        stderr=subprocess.DEVNULL,
        env=environment(os.environ),
        start_new_session=True,  # Ctrl-C is for the gateway
    )
    made = bytearray()
    async with process:
        assert process.stdout is not None
        async for chunk in process.stdout:
            made += chunk
            if len(made) > MADE_LIMIT_BYTES:
                process.kill()
    is_one = process.returncode == 0 and describe(bytes(made[:4096])).media_type == "image/png"
    return bytes(made) if is_one else b""
