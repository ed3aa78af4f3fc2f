"""Nodes that encode, sample and decode latents, with stand-ins for results.

Rule: a sampler reports progress step by step, as a real one does.
"""

from __future__ import annotations

from typing import cast

from msgspec.structs import replace
from PIL import Image

from everfold.simulator.nodes import images, latents
from everfold.simulator.nodes.latents import Latent, Model, contents, mixed
from everfold.simulator.nodes.node import (
    BATCH_SIZE,
    CONDITIONING,
    IMAGE,
    LATENT,
    MASK,
    MODEL,
    SEED,
    VAE,
    Inputs,
    Node,
    NodeRun,
    Result,
    batch,
    integer,
    number,
)
from everfold.simulator.nodes.shapes import InputSpec, real, whole

STEP_S = 0.05
"""How long one step of a sampler takes."""

SAMPLERS = [
    *("euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2"),
    *("dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral"),
    *("dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "ddpm", "lcm", "ipndm", "deis"),
    *("res_multistep", "gradient_estimation", "er_sde", "seeds_2", "ddim", "uni_pc", "uni_pc_bh2"),
]
SCHEDULERS = [
    *("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal"),
    *("linear_quadratic", "kl_optimal"),
]


def _model(inputs: Inputs, name: str) -> Model:
    return cast("Model", inputs[name])


def _latent(inputs: Inputs, name: str = "samples") -> Latent:
    return cast("Latent", inputs[name])


def _mask(inputs: Inputs) -> Image.Image:
    return cast("list[Image.Image]", inputs["mask"])[0]


async def _empty_latent(run: NodeRun, inputs: Inputs) -> Result:
    return Result((_empty(inputs, integer(inputs, "batch_size")),))


async def _empty_video(run: NodeRun, inputs: Inputs) -> Result:
    """Each frame is one picture."""
    return Result((_empty(inputs, integer(inputs, "batch_size") * integer(inputs, "length")),))


def _empty(inputs: Inputs, count: int) -> Latent:
    return Latent(integer(inputs, "width"), integer(inputs, "height"), count)


async def _sample(run: NodeRun, inputs: Inputs) -> Result:
    await _steps(run, integer(inputs, "steps"))
    digest, latent = mixed(contents(inputs)), _latent(inputs, "latent_image")
    return Result((latents.sampled(latent, digest, number(inputs, "denoise")),))


async def _sample_advanced(run: NodeRun, inputs: Inputs) -> Result:
    steps = integer(inputs, "steps")
    first, last = (integer(inputs, name) for name in ("start_at_step", "end_at_step"))
    count = max(0, min(last, steps) - min(first, steps))
    await _steps(run, count)
    digest, latent = mixed(contents(inputs)), _latent(inputs, "latent_image")
    return Result((latents.sampled(latent, digest, count / steps),))


async def _steps(run: NodeRun, count: int) -> None:
    for step in range(1, count + 1):
        await run.sleep(STEP_S)
        await run.progress(step, count)


async def _decode(run: NodeRun, inputs: Inputs) -> Result:
    return Result((latents.decoded(_latent(inputs), _model(inputs, "vae")),))


async def _encode(run: NodeRun, inputs: Inputs) -> Result:
    return Result((latents.encoded(batch(inputs, "pixels")),))


async def _encode_for_inpaint(run: NodeRun, inputs: Inputs) -> Result:
    return Result((latents.encoded(batch(inputs, "pixels"), _mask(inputs)),))


async def _set_noise_mask(run: NodeRun, inputs: Inputs) -> Result:
    return Result((replace(_latent(inputs), mask=_mask(inputs)),))


async def _latent_upscale(run: NodeRun, inputs: Inputs) -> Result:
    width, height = (integer(inputs, side) // 8 * 8 for side in ("width", "height"))
    method, crop = str(inputs["upscale_method"]), str(inputs["crop"])
    return Result((latents.resized(_latent(inputs), width, height, method, crop),))


async def _latent_upscale_by(run: NodeRun, inputs: Inputs) -> Result:
    latent, factor = _latent(inputs), number(inputs, "scale_by")
    width, height = (max(8, round(s * factor / 8) * 8) for s in (latent.width, latent.height))
    method = str(inputs["upscale_method"])
    return Result((latents.resized(latent, width, height, method, "disabled"),))


async def _upscale_with_model(run: NodeRun, inputs: Inputs) -> Result:
    pictures = batch(inputs)
    await _steps(run, len(pictures))
    width, height = (side * 4 for side in pictures[0].size)
    return Result((images.scaled(pictures, width, height, "lanczos"),))


_SIDE = whole(512, 16, 16384, 8)
_FRAME_SIDE = whole(848, 16, 16384, 16)
_SIZE = {"width": _SIDE, "height": _SIDE, "batch_size": BATCH_SIZE}
_METHODS: InputSpec = (["nearest-exact", "bilinear", "area", "bicubic", "bislerp"], {})
_SAMPLING: dict[str, InputSpec] = {
    "steps": whole(20, 1, 10000),
    "cfg": real(8.0, 0.0, 100.0),
    "sampler_name": (SAMPLERS, {}),
    "scheduler": (SCHEDULERS, {}),
    "positive": CONDITIONING,
    "negative": CONDITIONING,
    "latent_image": LATENT,
}
_SWITCH: InputSpec = (["enable", "disable"], {})

LATENT_NODES: dict[str, Node] = {
    "EmptyLatentImage": Node(
        _SIZE,
        ("LATENT",),
        category="latent",
        display_name="Empty Latent Image",
        action=_empty_latent,
    ),
    "EmptySD3LatentImage": Node(
        _SIZE,
        ("LATENT",),
        module="comfy_extras.nodes_sd3",
        category="latent/sd3",
        action=_empty_latent,
    ),
    "EmptyHunyuanLatentVideo": Node(
        {
            "width": _FRAME_SIDE,
            "height": _FRAME_SIDE,
            "length": whole(25, 1, 16384, 4),
            "batch_size": BATCH_SIZE,
        },
        ("LATENT",),
        module="comfy_extras.nodes_hunyuan",
        category="latent/video",
        action=_empty_video,
    ),
    "KSampler": Node(
        {"model": MODEL, "seed": SEED, **_SAMPLING, "denoise": real(1.0, 0.0, 1.0, 0.01)},
        ("LATENT",),
        category="sampling",
        action=_sample,
    ),
    "KSamplerAdvanced": Node(
        {
            "model": MODEL,
            "add_noise": _SWITCH,
            "noise_seed": SEED,
            **_SAMPLING,
            "start_at_step": whole(0, 0, 10000),
            "end_at_step": whole(10000, 0, 10000),
            "return_with_leftover_noise": (["disable", "enable"], {}),
        },
        ("LATENT",),
        category="sampling",
        display_name="KSampler (Advanced)",
        action=_sample_advanced,
    ),
    "VAEDecode": Node(
        {"samples": LATENT, "vae": VAE},
        ("IMAGE",),
        category="latent",
        display_name="VAE Decode",
        action=_decode,
    ),
    "VAEEncode": Node(
        {"pixels": IMAGE, "vae": VAE},
        ("LATENT",),
        category="latent",
        display_name="VAE Encode",
        action=_encode,
    ),
    "VAEEncodeForInpaint": Node(
        {"pixels": IMAGE, "vae": VAE, "mask": MASK, "grow_mask_by": whole(6, 0, 64)},
        ("LATENT",),
        category="latent/inpaint",
        display_name="VAE Encode (for Inpainting)",
        action=_encode_for_inpaint,
    ),
    "SetLatentNoiseMask": Node(
        {"samples": LATENT, "mask": MASK},
        ("LATENT",),
        category="latent/inpaint",
        display_name="Set Latent Noise Mask",
        action=_set_noise_mask,
    ),
    "LatentUpscale": Node(
        {
            "samples": LATENT,
            "upscale_method": _METHODS,
            "width": whole(512, 0, 16384, 8),
            "height": whole(512, 0, 16384, 8),
            "crop": (["disabled", "center"], {}),
        },
        ("LATENT",),
        category="latent",
        display_name="Upscale Latent",
        action=_latent_upscale,
    ),
    "LatentUpscaleBy": Node(
        {"samples": LATENT, "upscale_method": _METHODS, "scale_by": real(1.5, 0.01, 8.0, 0.01)},
        ("LATENT",),
        category="latent",
        display_name="Upscale Latent By",
        action=_latent_upscale_by,
    ),
    "ImageUpscaleWithModel": Node(
        {"upscale_model": ("UPSCALE_MODEL", {}), "image": IMAGE},
        ("IMAGE",),
        module="comfy_extras.nodes_upscale_model",
        category="image/upscaling",
        display_name="Upscale Image (using Model)",
        action=_upscale_with_model,
    ),
}
