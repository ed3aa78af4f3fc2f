"""Images, made and changed for real with Pillow. A batch is a list of RGB images of one size."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

from PIL import Image, ImageFilter, ImageOps
from PIL.PngImagePlugin import PngInfo

Batch = list[Image.Image]

_METHODS = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "bislerp": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def empty(width: int, height: int, batch_size: int, color: int) -> Batch:
    """Return images of one color, given as 0xRRGGBB."""
    rgb = (color >> 16 & 255, color >> 8 & 255, color & 255)
    return [Image.new("RGB", (width, height), rgb) for _ in range(batch_size)]


def scaled(batch: Batch, width: int, height: int, method: str, crop: str = "disabled") -> Batch:
    """Scale to a size in pixels; a side of 0 keeps the proportions."""
    if width == 0 or height == 0:
        ratio = batch[0].width / batch[0].height
        width = width or max(1, round(height * ratio))
        height = height or max(1, round(width / ratio))
    resize = ImageOps.fit if crop == "center" else Image.Image.resize
    return [resize(image, (width, height), _METHODS[method]) for image in batch]


def blurred(batch: Batch, radius: int, sigma: float) -> Batch:
    """Raises RuntimeError with torch's words when the radius does not fit into the image."""
    width, height = batch[0].size
    if radius >= min(width, height):
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, "
            f"but got: padding ({radius}, {radius}) at dimension 3 of input "
            f"[{len(batch)}, 3, {height}, {width}]"
        )
    return [image.filter(ImageFilter.GaussianBlur(sigma)) for image in batch]


def inverted(batch: Batch) -> Batch:
    """Return the negatives."""
    return [ImageOps.invert(image) for image in batch]


def encoded(image: Image.Image, kind: str, texts: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a PNG or JPEG file; `texts` go into a PNG."""
    buffer, info = BytesIO(), PngInfo()
    for key, text in (texts or {}).items():
        info.add_text(key, text)
    options: dict[str, object] = {"pnginfo": info, "compress_level": 4} if kind == "PNG" else {}
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_alpha_of(original: bytes, mask: bytes) -> bytes:
    """Return the original as PNG with the mask's alpha channel, its texts kept."""
    with Image.open(BytesIO(original)) as image, Image.open(BytesIO(mask)) as painted:
        texts = {key: str(text) for key, text in getattr(image, "text", {}).items()}
        masked = image.convert("RGBA")
        masked.putalpha(painted.convert("RGBA").getchannel("A"))
        return encoded(masked, "PNG", texts)
