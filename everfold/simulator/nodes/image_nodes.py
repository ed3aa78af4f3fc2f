"""Nodes that need no model: they load, make, change and save images for real."""

from __future__ import annotations

from PIL import Image, ImageOps

from everfold.simulator.nodes import images
from everfold.simulator.nodes.folders import Folders
from everfold.simulator.nodes.node import (
    BATCH_SIZE,
    IMAGE,
    PNG,
    PREFIX,
    SCALE_METHODS,
    Inputs,
    Node,
    NodeRun,
    Result,
    batch,
    integer,
    number,
)
from everfold.simulator.nodes.shapes import InputFile, InputSpec, real, whole

_UPLOAD: InputSpec = (InputFile(), {"image_upload": True})


async def _load_image(run: NodeRun, inputs: Inputs) -> Result:
    picture = _opened(run.folders, str(inputs["image"]))
    if "A" in picture.getbands():
        mask = ImageOps.invert(picture.getchannel("A"))
    else:
        mask = Image.new("L", (64, 64), 0)
    return Result(([picture.convert("RGB")], [mask]))


async def _load_mask(run: NodeRun, inputs: Inputs) -> Result:
    picture = _opened(run.folders, str(inputs["image"])).convert("RGBA")
    channel = {"alpha": "A", "red": "R", "green": "G", "blue": "B"}[str(inputs["channel"])]
    mask = picture.getchannel(channel)
    return Result(([ImageOps.invert(mask) if channel == "A" else mask],))


def _opened(folders: Folders, name: str) -> Image.Image:
    path = folders.upload(name)
    if path is None:
        raise FileNotFoundError(f"[Errno 2] No such file or directory: {name!r}")
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture)


async def _empty_image(run: NodeRun, inputs: Inputs) -> Result:
    names = ("width", "height", "batch_size", "color")
    return Result((images.empty(*(integer(inputs, name) for name in names)),))


async def _image_scale(run: NodeRun, inputs: Inputs) -> Result:
    width, height = integer(inputs, "width"), integer(inputs, "height")
    method, crop = str(inputs["upscale_method"]), str(inputs["crop"])
    return Result((images.scaled(batch(inputs), width, height, method, crop),))


async def _image_scale_by(run: NodeRun, inputs: Inputs) -> Result:
    factor, pictures = number(inputs, "scale_by"), batch(inputs)
    width, height = (max(1, round(side * factor)) for side in pictures[0].size)
    return Result((images.scaled(pictures, width, height, str(inputs["upscale_method"])),))


async def _image_blur(run: NodeRun, inputs: Inputs) -> Result:
    blurred = images.blurred(batch(inputs), integer(inputs, "blur_radius"), number(inputs, "sigma"))
    return Result((blurred,))


async def _image_invert(run: NodeRun, inputs: Inputs) -> Result:
    return Result((images.inverted(batch(inputs)),))


async def _image_batch(run: NodeRun, inputs: Inputs) -> Result:
    first, second = batch(inputs, "image1"), batch(inputs, "image2")
    return Result((first + images.scaled(second, *first[0].size, "bilinear", "center"),))


async def _save_image(run: NodeRun, inputs: Inputs) -> Result:
    prefix, pictures = str(inputs["filename_prefix"]), batch(inputs, "images")
    return Result(ui={"images": run.folders.save("output", prefix, pictures, run.png_texts)})


async def _preview_image(run: NodeRun, inputs: Inputs) -> Result:
    prefix, pictures = run.folders.temp_prefix, batch(inputs, "images")
    return Result(ui={"images": run.folders.save("temp", prefix, pictures, run.png_texts)})


async def _save_websocket(run: NodeRun, inputs: Inputs) -> Result:
    pictures = batch(inputs, "images")
    for step, image in enumerate(pictures, 1):
        await run.preview(images.encoded(image, "PNG"), PNG)
        await run.progress(step, len(pictures))
    return Result(ui={})


async def _send_to_krita(run: NodeRun, inputs: Inputs) -> Result:
    told = {"source": "websocket", "content-type": "image/png", "type": "output"}
    await _save_websocket(run, inputs)
    return Result(ui={"images": [told for _ in batch(inputs, "images")]})


async def _send_to_swarm(run: NodeRun, inputs: Inputs) -> Result:
    for step, image in enumerate(batch(inputs, "images")):
        await run.progress(step, _SWARM_SIGN)
        await run.preview(images.encoded(image, "PNG"), PNG)
    return Result(ui={})


async def _save_animated_webp(run: NodeRun, inputs: Inputs) -> Result:
    prefix, pictures = str(inputs["filename_prefix"]), batch(inputs, "images")
    saved = run.folders.save_animated(prefix, pictures, "webp")
    return Result(ui={"images": saved, "animated": [len(pictures) > 1]})


async def _save_animated_png(run: NodeRun, inputs: Inputs) -> Result:
    prefix, pictures = str(inputs["filename_prefix"]), batch(inputs, "images")
    saved = run.folders.save_animated(prefix, pictures, "png")
    return Result(ui={"images": saved, "animated": [True]})


async def _preview_any(run: NodeRun, inputs: Inputs) -> Result:
    return Result(ui={"text": [str(inputs["source"])]})


_SCALING, _EXTRAS, _ANIMATION = "image/upscaling", "comfy_extras.nodes_images", "image/animation"
_SWARM_SIGN = 12_345
"""Steps of a node by which SwarmUI knows that its pictures are results."""

_FPS = real(6.0, 0.01, 1000.0, 0.01)

IMAGE_NODES: dict[str, Node] = {
    "LoadImage": Node(
        {"image": _UPLOAD},
        ("IMAGE", "MASK"),
        category="image",
        display_name="Load Image",
        action=_load_image,
    ),
    "LoadImageMask": Node(
        {"image": _UPLOAD, "channel": (["alpha", "red", "green", "blue"], {})},
        ("MASK",),
        category="mask",
        display_name="Load Image (as Mask)",
        action=_load_mask,
    ),
    "EmptyImage": Node(
        {
            "width": whole(512, 1, 16384),
            "height": whole(512, 1, 16384),
            "batch_size": BATCH_SIZE,
            "color": whole(0, 0, 0xFFFFFF),
        },
        ("IMAGE",),
        category="image",
        action=_empty_image,
    ),
    "ImageScale": Node(
        {
            "image": IMAGE,
            "upscale_method": SCALE_METHODS,
            "width": whole(512, 0, 16384),
            "height": whole(512, 0, 16384),
            "crop": (["disabled", "center"], {}),
        },
        ("IMAGE",),
        category=_SCALING,
        display_name="Upscale Image",
        action=_image_scale,
    ),
    "ImageScaleBy": Node(
        {"image": IMAGE, "upscale_method": SCALE_METHODS, "scale_by": real(1.0, 0.01, 8.0, 0.01)},
        ("IMAGE",),
        category=_SCALING,
        display_name="Upscale Image By",
        action=_image_scale_by,
    ),
    "ImageBlur": Node(
        {"image": IMAGE, "blur_radius": whole(1, 1, 31), "sigma": real(1.0, 0.1, 10.0)},
        ("IMAGE",),
        module="comfy_extras.nodes_post_processing",
        category="image/postprocessing",
        action=_image_blur,
    ),
    "ImageInvert": Node(
        {"image": IMAGE},
        ("IMAGE",),
        category="image",
        display_name="Invert Image",
        action=_image_invert,
    ),
    "ImageBatch": Node(
        {"image1": IMAGE, "image2": IMAGE},
        ("IMAGE",),
        category="image",
        display_name="Batch Images",
        action=_image_batch,
    ),
    "SaveImage": Node(
        {"images": IMAGE, "filename_prefix": PREFIX},
        is_output=True,
        category="image",
        display_name="Save Image",
        action=_save_image,
    ),
    "PreviewImage": Node(
        {"images": IMAGE},
        is_output=True,
        category="image",
        display_name="Preview Image",
        action=_preview_image,
    ),
    "SaveImageWebsocket": Node(
        {"images": IMAGE},
        is_output=True,
        module="custom_nodes.websocket_image_save",
        category="api/image",
        action=_save_websocket,
    ),
    "ETN_SendImageWebSocket": Node(
        {"images": IMAGE, "format": (["PNG", "JPEG"], {"default": "PNG"})},
        is_output=True,
        module="custom_nodes.comfyui-tooling-nodes",
        category="external_tooling",
        action=_send_to_krita,
    ),
    "SwarmSaveImageWS": Node(
        {"images": IMAGE},
        is_output=True,
        module="custom_nodes.SwarmComfyCommon",
        category="SwarmUI/images",
        action=_send_to_swarm,
    ),
    "SaveAnimatedWEBP": Node(
        {
            "images": IMAGE,
            "filename_prefix": PREFIX,
            "fps": _FPS,
            "lossless": ("BOOLEAN", {"default": True}),
            "quality": whole(80, 0, 100),
            "method": (["default", "fastest", "slowest"], {}),
        },
        is_output=True,
        module=_EXTRAS,
        category=_ANIMATION,
        action=_save_animated_webp,
    ),
    "SaveAnimatedPNG": Node(
        {
            "images": IMAGE,
            "filename_prefix": PREFIX,
            "fps": _FPS,
            "compress_level": whole(4, 0, 9),
        },
        is_output=True,
        module=_EXTRAS,
        category=_ANIMATION,
        action=_save_animated_png,
    ),
    "PreviewAny": Node(
        {"source": ("*", {})},
        is_output=True,
        module="comfy_extras.nodes_preview_any",
        category="utils",
        display_name="Preview Any",
        action=_preview_any,
    ),
}
