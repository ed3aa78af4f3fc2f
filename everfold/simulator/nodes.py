"""What each node does when it runs."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from msgspec import Struct

from everfold.simulator import pictures
from everfold.simulator.pictures import Batch, Folders
from everfold.simulator.sockets import JPEG, PNG

Inputs = dict[str, object]


class Result(Struct, frozen=True):
    value: object = None
    """What other nodes get."""
    ui: dict[str, object] | None = None


class OutOfMemory(Exception):
    """Stands for torch.OutOfMemoryError."""


class Interrupted(Exception):
    """Somebody asked for the running prompt to be interrupted."""


class Stage(Protocol):
    """What a node may do to the world while it runs."""

    folders: Folders

    async def sleep(self, seconds: float, *, deaf: bool = False) -> None: ...
    async def progress(self, value: int, most: int) -> None: ...
    async def preview(self, image: bytes, kind: int) -> None: ...
    async def text(self, text: str) -> None: ...


def _batch(inputs: Inputs, name: str = "image") -> Batch:
    return cast("Batch", inputs[name])


def _number(inputs: Inputs, name: str) -> float:
    return float(cast("float", inputs[name]))


async def _empty_image(stage: Stage, inputs: Inputs) -> Result:
    names = ("width", "height", "batch_size", "color")
    return Result(pictures.empty(*(int(_number(inputs, name)) for name in names)))


async def _image_scale(stage: Stage, inputs: Inputs) -> Result:
    width, height = int(_number(inputs, "width")), int(_number(inputs, "height"))
    method, crop = str(inputs["upscale_method"]), str(inputs["crop"])
    return Result(pictures.scaled(_batch(inputs), width, height, method, crop))


async def _image_blur(stage: Stage, inputs: Inputs) -> Result:
    radius = int(_number(inputs, "blur_radius"))
    return Result(pictures.blurred(_batch(inputs), radius, _number(inputs, "sigma")))


async def _image_invert(stage: Stage, inputs: Inputs) -> Result:
    return Result(pictures.inverted(_batch(inputs)))


async def _save_image(stage: Stage, inputs: Inputs) -> Result:
    prefix = str(inputs["filename_prefix"])
    return Result(ui={"images": stage.folders.save("output", prefix, _batch(inputs, "images"))})


async def _preview_image(stage: Stage, inputs: Inputs) -> Result:
    prefix = stage.folders.temp_prefix
    return Result(ui={"images": stage.folders.save("temp", prefix, _batch(inputs, "images"))})


async def _save_websocket(stage: Stage, inputs: Inputs) -> Result:
    batch = _batch(inputs, "images")
    for step, image in enumerate(batch, 1):
        await stage.preview(pictures.encoded(image, "PNG"), PNG)
        await stage.progress(step, len(batch))
    return Result(ui={})


async def _save_webp(stage: Stage, inputs: Inputs) -> Result:
    prefix, batch = str(inputs["filename_prefix"]), _batch(inputs, "images")
    saved = stage.folders.save("output", prefix, batch, "webp")
    return Result(ui={"images": saved, "animated": [len(batch) > 1]})


async def _preview_any(stage: Stage, inputs: Inputs) -> Result:
    return Result(ui={"text": [str(inputs["source"])]})


async def _sleep_progress(stage: Stage, inputs: Inputs) -> Result:
    seconds, steps = _number(inputs, "seconds"), int(_number(inputs, "steps"))
    for step in range(1, steps + 1):
        await stage.sleep(seconds / steps)
        await stage.progress(step, steps)
        if inputs["preview"]:
            await stage.preview(pictures.encoded(_batch(inputs)[0], "JPEG"), JPEG)
    return Result(inputs["image"])


async def _sleep_deaf(stage: Stage, inputs: Inputs) -> Result:
    await stage.sleep(_number(inputs, "seconds"), deaf=True)
    return Result(inputs["image"])


async def _raise(stage: Stage, inputs: Inputs) -> Result:
    await stage.sleep(_number(inputs, "seconds"), deaf=True)
    raise RuntimeError(str(inputs["message"]))


async def _oom(stage: Stage, inputs: Inputs) -> Result:
    raise OutOfMemory("fake CUDA out of memory")


async def _text(stage: Stage, inputs: Inputs) -> Result:
    await stage.text(str(inputs["text"]))
    return Result(inputs["image"], ui={"text": [str(inputs["text"])]})


async def _big_ui(stage: Stage, inputs: Inputs) -> Result:
    return Result(ui={"text": ["x" * 1024 * int(_number(inputs, "kib"))]})


async def _bad_ui(stage: Stage, inputs: Inputs) -> Result:
    return Result(ui={"bad": [object()]})


async def _exit(stage: Stage, inputs: Inputs) -> Result:
    os._exit(int(_number(inputs, "code")))


Action = Callable[[Stage, Inputs], Awaitable[Result]]

ACTIONS: dict[str, Action] = {
    "EmptyImage": _empty_image,
    "ImageScale": _image_scale,
    "ImageBlur": _image_blur,
    "ImageInvert": _image_invert,
    "SaveImage": _save_image,
    "PreviewImage": _preview_image,
    "SaveImageWebsocket": _save_websocket,
    "SaveAnimatedWEBP": _save_webp,
    "PreviewAny": _preview_any,
    "JTSleepProgress": _sleep_progress,
    "JTSleepDeaf": _sleep_deaf,
    "JTRaise": _raise,
    "JTOom": _oom,
    "JTText": _text,
    "JTBigUI": _big_ui,
    "JTBadUI": _bad_ui,
    "JTExit": _exit,
}
