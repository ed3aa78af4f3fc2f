"""Small pictures of stored ones, for lists and pages.

Rule: nothing fails because of a thumbnail: where none can be made, there is none. The bytes are
hostile, so a process of its own decodes them, without the runner's secrets: it is ended when it
takes too long, its memory is not the runner's, and what kills it kills nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from typing import IO

import anyio
from anyio import CapacityLimiter

from everfold.assets.shrinking import FORMATS, PIXEL_LIMIT, SIDE_PIXELS
from everfold.runner.renewal.renewer_process import environment
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.sniffing.media_types import describe
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError

logger = get_logger("everfold.assets")

FILE_LIMIT_BYTES = 64 * 2**20
SMALL_BYTES = 64 * 2**10
"""A picture of so few bytes that is no larger than a thumbnail is its own."""

PROGRAM = ("-P", "-m", "everfold.assets.shrinking")
"""Run by this Python, with the picture as its input and its media type. -P: what lies in the
current folder must not be imported in place of a library."""
THUMBNAIL_LIMIT_BYTES = 256 * 2**10

WITHIN_S = 20.0
"""How long one may take once it is begun, the start of the process included."""
IN_ALL_S = 120.0
"""How long a picture may take with those before it: one is made at a time, and their jobs wait."""


def can_make_thumbnails() -> bool:
    """Return whether Pillow is here: the extra `assets` has it."""
    return find_spec("PIL") is not None


class Thumbnails:
    """Makes a thumbnail of a stored picture, and stores it."""

    def __init__(self, within_s: float = WITHIN_S, in_all_s: float = IN_ALL_S) -> None:
        self._within_s, self._in_all_s = within_s, in_all_s
        self._one = CapacityLimiter(1)

    async def make(self, assets: AssetStore, asset: Asset) -> Asset | None:
        """Return the thumbnail of a picture: an asset of the same owner, kept as long.

        None where there is none to make: not a PNG, JPEG, WebP or GIF, larger than 64 MB or 64
        megapixels, small already, damaged, or the store cannot take it.
        """
        if not _is_worth_it(asset):
            return None
        try:
            with anyio.move_on_after(self._in_all_s):
                async with self._one:
                    with anyio.move_on_after(self._within_s):
                        return await _made(assets, asset)
        except (EverfoldError, OSError) as problem:
            logger.warning("thumbnail_failed asset=%s why=%s", asset.id, problem)
        return None


async def _made(assets: AssetStore, asset: Asset) -> Asset | None:
    with tempfile.TemporaryFile() as file:  # without a name, so a kill leaves none behind
        async with assets.open(asset.hash) as chunks:
            async for chunk in chunks:
                file.write(chunk)
        file.seek(0)
        made = await _shrunk(file, asset.media_type)
    if not made:
        return None
    keep_s = (asset.expires_ms - asset.created_ms) / 1000 if asset.expires_ms else None
    stored = await assets.put(
        made,
        name=f"{asset.name}.thumbnail.webp",
        owner=asset.owner,
        keep_s=keep_s,
        job_id=asset.job_id,
    )
    return stored.asset


async def _shrunk(picture: IO[bytes], media_type: str) -> bytes:
    """Return what the program makes of a picture, empty for nothing. Raises OSError."""
    made = await output_of((*PROGRAM, media_type), picture, THUMBNAIL_LIMIT_BYTES)
    return made if describe(made).media_type == "image/webp" else b""


async def output_of(arguments: Sequence[str], pictures: IO[bytes], most_bytes: int) -> bytes:
    """Return what this Python prints for some arguments and an input.

    Empty where the program fails, as one does that is ended because it printed more than
    `most_bytes`. A caller that is cancelled ends it. Raises OSError.
    """
    process = await anyio.open_process(
        [sys.executable, *arguments],
        stdin=pictures,
        stderr=subprocess.DEVNULL,
        env=environment(os.environ),
        start_new_session=True,  # Ctrl-C is for whoever runs it
    )
    made = bytearray()
    async with process:
        assert process.stdout is not None
        async for chunk in process.stdout:
            made += chunk
            if len(made) > most_bytes:
                process.kill()
    return bytes(made) if process.returncode == 0 else b""


def _is_worth_it(asset: Asset) -> bool:
    if asset.media_type not in FORMATS or asset.size_bytes > FILE_LIMIT_BYTES:
        return False
    if asset.width * asset.height > PIXEL_LIMIT:
        return False
    is_small = 0 < max(asset.width, asset.height) <= SIDE_PIXELS
    return not (is_small and asset.size_bytes <= SMALL_BYTES)
