"""A small picture of a large one, by Pillow: a program between standard input and output.

Rule: the file is hostile. Only four formats are opened, pixels are counted before any is decoded,
and whatever goes wrong is no picture. It is run by thumbnails.py, in a process for each picture.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import BinaryIO

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF"}
"""Media types of which a small picture is made, with Pillow's names."""

SIDE_PIXELS = 320
PIXEL_LIMIT = 64_000_000
MEMORY_LIMIT_BYTES = 2**30
"""Of the process that decodes: 64 megapixels with transparency, twice, and Pillow itself."""
NICENESS = 10
"""Of the same process: what runs jobs goes first."""
CPU_LIMIT_S = 30
"""Of the same process, should nobody be left who ends it."""


def shrink(picture: BinaryIO, media_type: str) -> bytes:
    """Return the first frame as WebP of at most SIDE_PIXELS by SIDE_PIXELS; empty if impossible.

    It stands upright, as its camera says, and has nothing of the file but its pixels.
    """
    with contextlib.suppress(Exception):
        return _shrink(picture, FORMATS[media_type])
    return b""


def _shrink(picture: BinaryIO, kind: str) -> bytes:
    # WebP by name: else Pillow loads each of its fifty formats to find it.
    from PIL import Image, ImageOps, WebPImagePlugin  # noqa: F401 - registers itself

    with Image.open(picture, formats=(kind,)) as file:
        if file.width * file.height > PIXEL_LIMIT:
            return b""
        file.draft("RGB", (SIDE_PIXELS * 2, SIDE_PIXELS * 2))  # JPEG decodes a part of it only
        image: Image.Image = file
        if file.mode.startswith("I;16"):  # a conversion would cut off all above 255
            image = file.point(lambda value: value / 256).convert("L")
        small = image.convert("RGBA" if image.has_transparency_data else "RGB")
        small.thumbnail((SIDE_PIXELS, SIDE_PIXELS), reducing_gap=2.0)
        upright = ImageOps.exif_transpose(small)
        upright.info.clear()
        made = io.BytesIO()
        upright.save(made, "WEBP", quality=80, method=2)
        return made.getvalue()


def limit_process() -> None:
    """Have this process fail before the machine does, and wait for others, where the system can."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(NICENESS)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        for what, most in (
            (resource.RLIMIT_AS, MEMORY_LIMIT_BYTES),
            (resource.RLIMIT_CPU, CPU_LIMIT_S),
            (resource.RLIMIT_FSIZE, 0),
        ):
            resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


if __name__ == "__main__":
    limit_process()
    sys.stdout.buffer.write(shrink(sys.stdin.buffer, sys.argv[1]))
