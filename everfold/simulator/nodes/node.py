"""One node class: its shape, and what it does when it runs.

Rule: a shape and its action are one object, so that a listed class can always run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from msgspec import Struct

from everfold.simulator.nodes.folders import Folders
from everfold.simulator.nodes.images import Batch
from everfold.simulator.nodes.shapes import InputSpec, NodeShape

Inputs = dict[str, object]

JPEG, PNG = 1, 2
"""The numbers of image types in a preview frame."""

IMAGE: InputSpec = ("IMAGE", {})
MASK: InputSpec = ("MASK", {})
MODEL: InputSpec = ("MODEL", {})
CLIP: InputSpec = ("CLIP", {})
VAE: InputSpec = ("VAE", {})
CONDITIONING: InputSpec = ("CONDITIONING", {})
LATENT: InputSpec = ("LATENT", {})
SEED: InputSpec = ("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF})
PREFIX: InputSpec = ("STRING", {"default": "ComfyUI"})
SCALE_METHODS: InputSpec = (["nearest-exact", "bilinear", "area", "bicubic", "lanczos"], {})
BATCH_SIZE: InputSpec = ("INT", {"default": 1, "min": 1, "max": 4096})


class Result(Struct, frozen=True):
    values: tuple[object, ...] = ()
    """What other nodes get, one value per output slot."""
    ui: dict[str, object] | None = None


class OutOfMemory(Exception):
    """Stands for torch.OutOfMemoryError."""


class Interrupted(Exception):
    """The prompt was interrupted while this node ran."""


class NodeRun(Protocol):
    """What a node may use while it runs."""

    folders: Folders

    @property
    def png_texts(self) -> dict[str, str]:
        """The texts that saved PNG files carry: the graph, and what the client added."""

    async def sleep(self, seconds: float, *, deaf: bool = False) -> None:
        """Take time, divided by the simulator's speed.

        Raises Interrupted at the end, unless `deaf`.
        """

    async def progress(self, value: int, most: int) -> None:
        """Report progress. Raises Interrupted."""

    async def preview(self, image: bytes, kind: int) -> None:
        """Send an encoded image; `kind` is JPEG or PNG."""

    async def text(self, text: str) -> None:
        """Send a text beside the node."""


Action = Callable[[NodeRun, Inputs], Awaitable[Result]]


class Node(NodeShape, frozen=True, kw_only=True):
    action: Action


def batch(inputs: Inputs, name: str = "image") -> Batch:
    """Return an input of type IMAGE."""
    return cast("Batch", inputs[name])


def number(inputs: Inputs, name: str) -> float:
    """Return an input of type FLOAT."""
    return float(cast("float", inputs[name]))


def integer(inputs: Inputs, name: str) -> int:
    """Return an input of type INT."""
    return int(cast("int", inputs[name]))
