"""The folders of one server: its output, temp and input files, and the names of its models.

Rule: no path that a client gives leads out of its folder.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from everfold.simulator.nodes.images import Batch, encoded
from everfold.simulator.nodes.noise_files import write_noise

KINDS = ("output", "temp", "input")
"""The folders that clients may name, as `type`."""

MODELS: dict[str, list[str]] = {
    "checkpoints": [
        "sd_xl_base_1.0.safetensors",
        "v1-5-pruned-emaonly-fp16.safetensors",
        "v1-5-pruned-emaonly.safetensors",
    ],
    "clip_vision": ["clip_vision_h.safetensors"],
    "controlnet": ["control_v11p_sd15_canny_fp16.safetensors"],
    "diffusion_models": [
        "flux1-dev.safetensors",
        "wan2.1_t2v_1.3B_fp16.safetensors",
        "z_image_turbo_bf16.safetensors",
    ],
    "loras": ["lcm-lora-sdv1-5.safetensors", "pixel-art-xl.safetensors"],
    "text_encoders": [
        "clip_l.safetensors",
        "qwen_3_4b.safetensors",
        "t5xxl_fp16.safetensors",
        "umt5_xxl_fp16.safetensors",
    ],
    "upscale_models": ["RealESRGAN_x2.pth", "RealESRGAN_x4plus.pth"],
    "vae": ["ae.safetensors", "vae-ft-mse-840000-ema-pruned.safetensors"],
}
"""The model files that a simulator claims to have: folder -> file names."""


class Folders:
    """`root` holds the folders `output`, `temp` and `input`. Temp is emptied at each start."""

    def __init__(self, root: Path, models: Mapping[str, Sequence[str]] = MODELS) -> None:
        self.root = root
        self._models = models
        self.clear_temp()

    def of(self, kind: str) -> Path:
        """Return one of the three folders, created when it does not exist."""
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_temp(self) -> None:
        """Delete all temporary files and choose a new prefix for previews, as a start does."""
        for path in sorted(self.of("temp").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        self.temp_prefix = "ComfyUI_temp_" + "".join(random.choices(string.ascii_lowercase, k=5))

    def model_folders(self) -> list[str]:
        """Return the names of the model folders, sorted."""
        return sorted(self._models)

    def models(self, folder: str) -> list[str]:
        """Return the model files of a folder; none for a folder that does not exist."""
        return sorted(self._models.get(folder, ()))

    def uploads(self) -> list[str]:
        """Return the names of the files directly in the input folder."""
        return sorted(path.name for path in self.of("input").iterdir() if path.is_file())

    def has_upload(self, name: str) -> bool:
        """Say whether there is a file of this name, which may end in `[output]` or `[temp]`."""
        try:
            return self.upload(name) is not None
        except (PermissionError, ValueError):
            return False

    def upload(self, name: str) -> Path | None:
        """Return the file that an input of a graph names, None when there is none.

        Raises ValueError or PermissionError for a path that leads out of the folder.
        """
        filename, kind = split_annotation(name)
        subfolder, _, filename = filename.rpartition("/")
        return self.find(kind or "input", subfolder, filename)

    def find(self, kind: str, subfolder: str, filename: str) -> Path | None:
        """Return a file inside the folder, None when there is none.

        Raises ValueError for a file name, and PermissionError for a subfolder, that leads out.
        """
        if filename.startswith("/") or ".." in filename:
            raise ValueError(filename)
        path = self.inside(kind, subfolder) / Path(filename).name
        return path if path.is_file() else None

    def inside(self, kind: str, subfolder: str) -> Path:
        """Return a subfolder, whether it exists or not.

        Raises PermissionError when it does not lie in the folder.
        """
        folder = self.of(kind).resolve()
        path = (folder / subfolder).resolve()
        if path != folder and folder not in path.parents:
            raise PermissionError(subfolder)
        return path

    def save(
        self,
        kind: str,
        prefix: str,
        batch: Batch,
        texts: Mapping[str, str] | None = None,
    ) -> list[dict[str, str]]:
        """Save the images under the next free numbers; return them as ComfyUI reports them.

        Raises PermissionError for a prefix that leads out of the folder.
        """
        folder, stem, subfolder, counter = self._next_free(kind, prefix)
        saved = []
        for number, image in enumerate(batch, counter):
            name = f"{stem}_{number:05}_.png"
            (folder / name).write_bytes(encoded(image, "PNG", texts))
            saved.append({"filename": name, "subfolder": subfolder, "type": kind})
        return saved

    def save_noise(
        self, prefix: str, kind: str, size_bytes: int, seed: int
    ) -> list[dict[str, str]]:
        """Save one file of noise of this kind and about this size.

        Raises PermissionError for a prefix that leads out of the folder.
        """
        folder, stem, subfolder, counter = self._next_free("output", prefix)
        name = f"{stem}_{counter:05}_.{kind}"
        write_noise(folder / name, kind, size_bytes, seed)
        return [{"filename": name, "subfolder": subfolder, "type": "output"}]

    def save_animated(self, prefix: str, batch: Batch, suffix: str) -> list[dict[str, str]]:
        """Save the images as one file, `webp` or `png`.

        Raises PermissionError for a prefix that leads out of the folder.
        """
        folder, stem, subfolder, counter = self._next_free("output", prefix)
        name = f"{stem}_{counter:05}_.{suffix}"
        batch[0].save(folder / name, save_all=True, append_images=batch[1:], lossless=True)
        return [{"filename": name, "subfolder": subfolder, "type": "output"}]

    def _next_free(self, kind: str, prefix: str) -> tuple[Path, str, str, int]:
        subfolder, _, stem = prefix.rpartition("/")
        folder = self.inside(kind, subfolder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder, stem, subfolder, _next_counter(folder, stem)


def split_annotation(name: str) -> tuple[str, str | None]:
    """Split `name.png [temp]` into the name and its folder; None when no folder is named."""
    for kind in KINDS:
        if name.endswith(f"[{kind}]"):
            return name.removesuffix(f"[{kind}]").rstrip(), kind
    return name, None


def _next_counter(folder: Path, stem: str) -> int:
    pattern = re.compile(re.escape(stem) + r"_(\d+)_?\.\w+")
    numbers = [int(m[1]) for path in folder.iterdir() if (m := pattern.fullmatch(path.name))]
    return max(numbers, default=0) + 1
