"""The nodes that the simulator knows, with their inputs as ComfyUI declares them.

Rule: data only. The specifications are those of ComfyUI 0.3.64; nodes whose names begin with JT
are test nodes that sleep, fail or misbehave on purpose.
"""

from __future__ import annotations

from msgspec import Struct

InputSpec = tuple[object, dict[str, object]]
"""Type name or list of choices, and its options."""


class NodeType(Struct, frozen=True):
    required: dict[str, InputSpec]
    returns: tuple[str, ...] = ()
    is_output: bool = False
    optional: dict[str, InputSpec] = {}


def _int(default: int, least: int, most: int) -> InputSpec:
    return "INT", {"default": default, "min": least, "max": most, "step": 1}


def _float(default: float, least: float, most: float) -> InputSpec:
    return "FLOAT", {"default": default, "min": least, "max": most, "step": 0.1}


_IMAGE: InputSpec = ("IMAGE", {})
_SEED: InputSpec = ("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF})
_PREFIX: InputSpec = ("STRING", {"default": "ComfyUI"})
_METHODS: InputSpec = (["nearest-exact", "bilinear", "area", "bicubic", "lanczos"], {})
_SECONDS: InputSpec = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 3600.0})
_BATCH = _int(1, 1, 4096)

NODES: dict[str, NodeType] = {
    "EmptyImage": NodeType(
        {
            "width": _int(512, 1, 16384),
            "height": _int(512, 1, 16384),
            "batch_size": _BATCH,
            "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1}),
        },
        ("IMAGE",),
    ),
    "ImageScale": NodeType(
        {
            "image": _IMAGE,
            "upscale_method": _METHODS,
            "width": _int(512, 0, 16384),
            "height": _int(512, 0, 16384),
            "crop": (["disabled", "center"], {}),
        },
        ("IMAGE",),
    ),
    "ImageBlur": NodeType(
        {"image": _IMAGE, "blur_radius": _int(1, 1, 31), "sigma": _float(1.0, 0.1, 10.0)},
        ("IMAGE",),
    ),
    "ImageInvert": NodeType({"image": _IMAGE}, ("IMAGE",)),
    "SaveImage": NodeType({"images": _IMAGE, "filename_prefix": _PREFIX}, is_output=True),
    "PreviewImage": NodeType({"images": _IMAGE}, is_output=True),
    "SaveImageWebsocket": NodeType({"images": _IMAGE}, is_output=True),
    "SaveAnimatedWEBP": NodeType(
        {
            "images": _IMAGE,
            "filename_prefix": _PREFIX,
            "fps": _float(6.0, 0.01, 1000.0),
            "lossless": ("BOOLEAN", {"default": True}),
            "quality": _int(80, 0, 100),
            "method": (["default", "fastest", "slowest"], {}),
        },
        is_output=True,
    ),
    "PreviewAny": NodeType({"source": ("*", {})}, is_output=True),
    "CheckpointLoaderSimple": NodeType(
        {"ckpt_name": ([], {"tooltip": "The name of the checkpoint (model) to load."})},
        ("MODEL", "CLIP", "VAE"),
    ),
    "EmptyLatentImage": NodeType(
        {"width": _int(512, 16, 16384), "height": _int(512, 16, 16384), "batch_size": _BATCH},
        ("LATENT",),
    ),
    "VAEDecode": NodeType({"samples": ("LATENT", {}), "vae": ("VAE", {})}, ("IMAGE",)),
    "CLIPTextEncode": NodeType(
        {"text": ("STRING", {"multiline": True}), "clip": ("CLIP", {})}, ("CONDITIONING",)
    ),
    "KSampler": NodeType(
        {
            "model": ("MODEL", {}),
            "seed": _SEED,
            "steps": _int(20, 1, 10000),
            "cfg": _float(8.0, 0.0, 100.0),
            "sampler_name": (["euler", "dpmpp_2m"], {}),
            "scheduler": (["normal", "karras"], {}),
            "positive": ("CONDITIONING", {}),
            "negative": ("CONDITIONING", {}),
            "latent_image": ("LATENT", {}),
            "denoise": _float(1.0, 0.0, 1.0),
        },
        ("LATENT",),
    ),
    "JTSleepProgress": NodeType(
        {
            "image": _IMAGE,
            "seconds": _SECONDS,
            "steps": _int(4, 1, 10000),
            "preview": ("BOOLEAN", {"default": False}),
            "seed": _SEED,
        },
        ("IMAGE",),
    ),
    "JTSleepDeaf": NodeType({"image": _IMAGE, "seconds": _SECONDS, "seed": _SEED}, ("IMAGE",)),
    "JTRaise": NodeType(
        {"image": _IMAGE, "message": ("STRING", {"default": "boom"}), "seconds": _SECONDS},
        ("IMAGE",),
    ),
    "JTOom": NodeType({"image": _IMAGE}, ("IMAGE",)),
    "JTText": NodeType(
        {"image": _IMAGE, "text": ("STRING", {"default": ""})}, ("IMAGE",), is_output=True
    ),
    "JTBigUI": NodeType({"image": _IMAGE, "kib": _int(1, 1, 65536)}, is_output=True),
    "JTBadUI": NodeType({"image": _IMAGE}, is_output=True),
    "JTExit": NodeType({"image": _IMAGE, "code": _int(1, 0, 255)}, ("IMAGE",)),
}


def described(name: str) -> dict[str, object]:
    """Return a node as `GET /object_info` shows it."""
    node = NODES[name]
    inputs = {"required": {key: list(spec) for key, spec in node.required.items()}}
    return {
        "input": inputs,
        "input_order": {"required": list(node.required)},
        "output": list(node.returns),
        "output_is_list": [False] * len(node.returns),
        "output_name": list(node.returns),
        "name": name,
        "display_name": name,
        "description": "",
        "category": "simulator",
        "output_node": node.is_output,
    }
