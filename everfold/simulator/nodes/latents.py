"""What stands in for models and latents: values whose content follows from all their inputs.

Rule: the same inputs give the same picture, any other input gives another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace
from PIL import Image, ImageOps

from everfold.simulator.nodes import images
from everfold.simulator.nodes.images import Batch

_COARSE = 8
"""Width and height, in pixels, of a picture before it is scaled up."""


class Model(Struct, frozen=True):
    """A model, a text encoder, a VAE, a prompt: anything whose content only has to differ."""

    digest: str


class Latent(Struct, frozen=True):
    width: int
    """Of the decoded picture, in pixels."""
    height: int
    count: int = 1
    digest: str = "empty"
    """What was sampled so far."""
    source: Batch | None = None
    """The pictures that it was encoded from."""
    change: float = 0.0
    """How much of the source was replaced: 0 nothing, 1 all."""
    mask: Image.Image | None = None
    """White where the source may change."""


def mixed(*inputs: object) -> str:
    """Return the digest of some inputs, in their order."""
    return hashlib.sha256(repr(inputs).encode()).hexdigest()


def contents(inputs: Mapping[str, object]) -> list[object]:
    """Return what a result depends on: the inputs by name, pictures and stand-ins by content."""
    return [(name, _content(value)) for name, value in sorted(inputs.items())]


def _content(value: object) -> object:
    match value:
        case Model(digest) | Latent(digest=digest):
            return digest
        case Image.Image():
            return hashlib.sha256(value.tobytes()).hexdigest()
        case list():
            return [_content(item) for item in value]
    return value


def sampled(latent: Latent, digest: str, denoise: float) -> Latent:
    """Return the latent after a sampler; `denoise` 1 leaves nothing of what was there."""
    return replace(latent, digest=digest, change=1 - (1 - latent.change) * (1 - denoise))


def encoded(pixels: Batch, mask: Image.Image | None = None) -> Latent:
    """Return the latent of some pictures; its sides are multiples of 8."""
    width, height = (max(8, side // 8 * 8) for side in pixels[0].size)
    source = [ImageOps.fit(image, (width, height)) for image in pixels]
    return Latent(width, height, len(source), mixed(_content(source)), source, mask=mask)


def resized(latent: Latent, width: int, height: int, method: str, crop: str) -> Latent:
    """Return the latent for a picture of another size, in pixels; a side of 0 keeps the ratio."""
    if width == 0 or height == 0:
        ratio = latent.width / latent.height
        width = width or max(8, round(height * ratio / 8) * 8)
        height = height or max(8, round(width / ratio / 8) * 8)
    source = latent.source and images.scaled(latent.source, width, height, method, crop)
    digest = mixed(latent.digest, method, crop)
    return replace(latent, width=width, height=height, source=source, digest=digest)


def decoded(latent: Latent, vae: Model) -> Batch:
    """Return the pictures of a latent."""
    return [_picture(latent, vae, index) for index in range(latent.count)]


def _picture(latent: Latent, vae: Model, index: int) -> Image.Image:
    size = (latent.width, latent.height)
    content = mixed(latent.digest, vae.digest, index)
    pixels = hashlib.shake_256(content.encode()).digest(_COARSE * _COARSE * 3)
    coarse = Image.frombytes("RGB", (_COARSE, _COARSE), pixels)
    made = coarse.resize(size, Image.Resampling.BICUBIC)
    if latent.source is None:
        return made if latent.change > 0 else Image.new("RGB", size, (127, 127, 127))
    source = latent.source[index % len(latent.source)]
    blended = Image.blend(source, made, latent.change)
    if latent.mask is None:
        return blended
    return Image.composite(blended, source, latent.mask.resize(size))
