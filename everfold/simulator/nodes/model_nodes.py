"""Nodes that load models, or change one, with stand-ins for results.

Rule: a loader takes its time; no weights are read.
"""

from __future__ import annotations

from everfold.simulator.nodes.latents import Model, contents, mixed
from everfold.simulator.nodes.node import (
    CLIP,
    CONDITIONING,
    IMAGE,
    MODEL,
    VAE,
    Action,
    Inputs,
    Node,
    NodeRun,
    Result,
)
from everfold.simulator.nodes.shapes import FilesOf, InputSpec, real, whole

LOAD_S = 0.2


def _makes(count: int, takes_s: float) -> Action:
    """Return an action that gives `count` stand-ins, which depend on all inputs."""

    async def make(run: NodeRun, inputs: Inputs) -> Result:
        await run.sleep(takes_s)
        content = contents(inputs)
        return Result(tuple(Model(mixed(slot, content)) for slot in range(count)))

    return make


def _files(folder: str) -> InputSpec:
    return FilesOf(folder), {}


_STRENGTH = real(1.0, -100.0, 100.0, 0.01)
_SHARE = real(0.0, 0.0, 1.0, 0.001)
_PROMPT: InputSpec = ("STRING", {"multiline": True, "dynamicPrompts": True})
_CLIP_TYPES = [
    *("stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart"),
    *("cosmos", "lumina2", "wan", "hidream", "chroma", "ace", "omnigen2", "qwen_image"),
    *("hunyuan_image",),
]
_DEVICE: dict[str, InputSpec] = {"device": (["default", "cpu"], {"advanced": True})}

MODEL_NODES: dict[str, Node] = {
    "CheckpointLoaderSimple": Node(
        {
            "ckpt_name": (
                FilesOf("checkpoints"),
                {"tooltip": "The name of the checkpoint (model) to load."},
            )
        },
        ("MODEL", "CLIP", "VAE"),
        category="loaders",
        display_name="Load Checkpoint",
        action=_makes(3, LOAD_S),
    ),
    "UNETLoader": Node(
        {
            "unet_name": _files("diffusion_models"),
            "weight_dtype": (["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"], {}),
        },
        ("MODEL",),
        category="advanced/loaders",
        display_name="Load Diffusion Model",
        action=_makes(1, LOAD_S),
    ),
    "CLIPLoader": Node(
        {"clip_name": _files("text_encoders"), "type": (_CLIP_TYPES, {})},
        ("CLIP",),
        _DEVICE,
        category="advanced/loaders",
        display_name="Load CLIP",
        action=_makes(1, LOAD_S),
    ),
    "DualCLIPLoader": Node(
        {
            "clip_name1": _files("text_encoders"),
            "clip_name2": _files("text_encoders"),
            "type": (["sdxl", "sd3", "flux", "hunyuan_video"], {}),
        },
        ("CLIP",),
        _DEVICE,
        category="advanced/loaders",
        action=_makes(1, LOAD_S),
    ),
    "VAELoader": Node(
        {"vae_name": _files("vae")},
        ("VAE",),
        category="loaders",
        display_name="Load VAE",
        action=_makes(1, LOAD_S),
    ),
    "LoraLoader": Node(
        {
            "model": MODEL,
            "clip": CLIP,
            "lora_name": _files("loras"),
            "strength_model": _STRENGTH,
            "strength_clip": _STRENGTH,
        },
        ("MODEL", "CLIP"),
        category="loaders",
        display_name="Load LoRA",
        action=_makes(2, LOAD_S),
    ),
    "LoraLoaderModelOnly": Node(
        {"model": MODEL, "lora_name": _files("loras"), "strength_model": _STRENGTH},
        ("MODEL",),
        category="loaders",
        action=_makes(1, LOAD_S),
    ),
    "ControlNetLoader": Node(
        {"control_net_name": _files("controlnet")},
        ("CONTROL_NET",),
        category="loaders",
        display_name="Load ControlNet Model",
        action=_makes(1, LOAD_S),
    ),
    "UpscaleModelLoader": Node(
        {"model_name": _files("upscale_models")},
        ("UPSCALE_MODEL",),
        module="comfy_extras.nodes_upscale_model",
        category="loaders",
        display_name="Load Upscale Model",
        action=_makes(1, LOAD_S),
    ),
    "CLIPTextEncode": Node(
        {"text": _PROMPT, "clip": CLIP},
        ("CONDITIONING",),
        category="conditioning",
        display_name="CLIP Text Encode (Prompt)",
        action=_makes(1, 0),
    ),
    "CLIPSetLastLayer": Node(
        {"clip": CLIP, "stop_at_clip_layer": whole(-1, -24, -1)},
        ("CLIP",),
        category="conditioning",
        display_name="CLIP Set Last Layer",
        action=_makes(1, 0),
    ),
    "ConditioningCombine": Node(
        {"conditioning_1": CONDITIONING, "conditioning_2": CONDITIONING},
        ("CONDITIONING",),
        category="conditioning",
        display_name="Conditioning (Combine)",
        action=_makes(1, 0),
    ),
    "ConditioningZeroOut": Node(
        {"conditioning": CONDITIONING},
        ("CONDITIONING",),
        category="advanced/conditioning",
        action=_makes(1, 0),
    ),
    "FluxGuidance": Node(
        {"conditioning": CONDITIONING, "guidance": real(3.5, 0.0, 100.0)},
        ("CONDITIONING",),
        module="comfy_extras.nodes_flux",
        category="advanced/conditioning/flux",
        action=_makes(1, 0),
    ),
    "ControlNetApplyAdvanced": Node(
        {
            "positive": CONDITIONING,
            "negative": CONDITIONING,
            "control_net": ("CONTROL_NET", {}),
            "image": IMAGE,
            "strength": real(1.0, 0.0, 10.0, 0.01),
            "start_percent": _SHARE,
            "end_percent": real(1.0, 0.0, 1.0, 0.001),
        },
        ("CONDITIONING", "CONDITIONING"),
        {"vae": VAE},
        category="conditioning/controlnet",
        display_name="Apply ControlNet",
        return_names=("positive", "negative"),
        action=_makes(2, 0),
    ),
    "ModelSamplingSD3": Node(
        {"model": MODEL, "shift": real(3.0, 0.0, 100.0, 0.01)},
        ("MODEL",),
        module="comfy_extras.nodes_model_advanced",
        category="advanced/model",
        action=_makes(1, 0),
    ),
    "ModelSamplingAuraFlow": Node(
        {"model": MODEL, "shift": real(1.73, 0.0, 100.0, 0.01)},
        ("MODEL",),
        module="comfy_extras.nodes_model_advanced",
        category="advanced/model",
        action=_makes(1, 0),
    ),
}
