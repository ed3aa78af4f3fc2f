"""Images: made, changed and saved for real, with Pillow; names as ComfyUI gives them."""

from __future__ import annotations

import random
import re
import string
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageFilter, ImageOps

Batch = list[Image.Image]

_METHODS = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def empty(width: int, height: int, batch_size: int, color: int) -> Batch:
    rgb = (color >> 16 & 255, color >> 8 & 255, color & 255)
    return [Image.new("RGB", (width, height), rgb) for _ in range(batch_size)]


def scaled(batch: Batch, width: int, height: int, method: str, crop: str) -> Batch:
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
    return [ImageOps.invert(image) for image in batch]


def encoded(image: Image.Image, kind: str) -> bytes:
    """Return the bytes of a PNG or JPEG file."""
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


class Folders:
    """The output, temp and input folders of one server. Temp is emptied at each start."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clear_temp()

    def of(self, kind: str) -> Path:
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_temp(self) -> None:
        for path in sorted(self.of("temp").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        self.temp_prefix = "ComfyUI_temp_" + "".join(random.choices(string.ascii_lowercase, k=5))

    def find(self, kind: str, subfolder: str, filename: str) -> Path | None:
        """Return a file inside the folder, None when there is none.

        Raises PermissionError for a path that leads out of the folder.
        """
        folder = self.of(kind).resolve()
        path = (folder / subfolder / filename).resolve()
        if folder not in path.parents:
            raise PermissionError(filename)
        return path if path.is_file() else None

    def save(
        self, kind: str, prefix: str, batch: Batch, suffix: str = "png"
    ) -> list[dict[str, str]]:
        """Save the images under the next free numbers; return them as ComfyUI reports them."""
        subfolder, _, stem = prefix.rpartition("/")
        folder = self.of(kind) / subfolder
        folder.mkdir(parents=True, exist_ok=True)
        counter = _next_counter(folder, stem)
        if suffix == "webp":
            name = f"{stem}_{counter:05}_.webp"
            batch[0].save(folder / name, save_all=True, append_images=batch[1:], lossless=True)
            return [{"filename": name, "subfolder": subfolder, "type": kind}]
        saved = []
        for image in batch:
            name = f"{stem}_{counter:05}_.{suffix}"
            (folder / name).write_bytes(encoded(image, "PNG"))
            saved.append({"filename": name, "subfolder": subfolder, "type": kind})
            counter += 1
        return saved


def _next_counter(folder: Path, stem: str) -> int:
    pattern = re.compile(re.escape(stem) + r"_(\d+)_?\.\w+")
    numbers = [int(m[1]) for path in folder.iterdir() if (m := pattern.fullmatch(path.name))]
    return max(numbers, default=0) + 1
