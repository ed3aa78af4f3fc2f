"""Takes a picture's channels apart, or gives it another transparency, by Pillow: a program between
standard input and output.

Rule: the files are hostile, see shrinking.py. It is run by channels.py, in a process for each
picture. Its input is the length of the first file in 8 bytes, the first file, and the second.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING

from everfold.assets.shrinking import FORMATS, PIXEL_LIMIT, limit_process

if TYPE_CHECKING:
    from PIL import Image

COMPRESSION = 4
"""Of PNG, as ComfyUI has it."""


def composed(operation: str, files: list[bytes]) -> bytes:
    """Return a PNG; empty if impossible.

    `rgb` is the first picture without its transparency, `a` its transparency alone, and `mask` the
    first picture with the transparency of the second, and with its own texts.
    """
    with contextlib.suppress(Exception):
        return _composed(operation, files)
    return b""


def _composed(operation: str, files: list[bytes]) -> bytes:
    from PIL import Image, WebPImagePlugin  # noqa: F401 - registers itself

    picture = _opened(files[0])
    if operation == "rgb":
        return _png(picture.convert("RGB"))
    if operation == "a":
        alpha = Image.new("RGBA", picture.size)
        alpha.putalpha(picture.convert("RGBA").getchannel("A"))
        return _png(alpha)
    mask = _opened(files[1]).convert("RGBA").getchannel("A")
    whole = picture.convert("RGBA")
    whole.putalpha(mask)
    return _png(whole, {str(k): v for k, v in picture.info.items() if isinstance(v, str)})


def _opened(content: bytes) -> Image.Image:
    from PIL import Image

    image = Image.open(io.BytesIO(content), formats=tuple(FORMATS.values()))
    if image.width * image.height > PIXEL_LIMIT:
        raise ValueError("too many pixels")
    return image


def _png(image: Image.Image, texts: dict[str, str] | None = None) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    made, info = io.BytesIO(), PngInfo()
    for name, text in (texts or {}).items():
        info.add_text(name, text)
    image.save(made, "PNG", compress_level=COMPRESSION, pnginfo=info)
    return made.getvalue()


if __name__ == "__main__":
    limit_process()
    whole = sys.stdin.buffer.read()
    first = 8 + int.from_bytes(whole[:8], "big")
    sys.stdout.buffer.write(composed(sys.argv[1], [whole[8:first], whole[first:]]))
