"""GET /models and /embeddings: the model files of all servers, as the choices of their loaders say.

Rule: a folder is known by the node that loads from it; one that no core node loads from is not.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from everfold.streams.events.json_text import decoder
from everfold.web.bodies import json_answer
from everfold.web.comfyui.server.union import Union, choices_of
from everfold.web.operation import Call
from everfold.web.problem import Problem

LOADERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "checkpoints": (("CheckpointLoaderSimple", "ckpt_name"), ("CheckpointLoader", "ckpt_name")),
    "loras": (("LoraLoader", "lora_name"), ("LoraLoaderModelOnly", "lora_name")),
    "vae": (("VAELoader", "vae_name"),),
    "text_encoders": (("CLIPLoader", "clip_name"), ("DualCLIPLoader", "clip_name1")),
    "diffusion_models": (("UNETLoader", "unet_name"),),
    "clip_vision": (("CLIPVisionLoader", "clip_name"),),
    "style_models": (("StyleModelLoader", "style_model_name"),),
    "diffusers": (("DiffusersLoader", "model_path"),),
    "controlnet": (("ControlNetLoader", "control_net_name"),),
    "gligen": (("GLIGENLoader", "gligen_name"),),
    "upscale_models": (("UpscaleModelLoader", "model_name"),),
    "latent_upscale_models": (("LatentUpscaleModelLoader", "model_name"),),
    "hypernetworks": (("HypernetworkLoader", "hypernetwork_name"),),
    "photomaker": (("PhotoMakerLoader", "photomaker_model_name"),),
    "audio_encoders": (("AudioEncoderLoader", "audio_encoder_name"),),
    "model_patches": (("ModelPatchLoader", "name"),),
}
"""Folder -> classes and inputs that list its files."""

_read_class = decoder(dict[str, object])


async def get_models(call: Call) -> Response:
    """Answer GET /models: the folders."""
    union = (await call.gateway.catalogue.known()).union
    return json_answer([folder for folder in LOADERS if files_of(union, folder) is not None])


async def get_models_of(call: Call) -> Response:
    """Answer GET /models/{folder}: its files."""
    folder = call.request.path_params["folder"]
    found = files_of((await call.gateway.catalogue.known()).union, folder)
    if found is None:
        raise Problem(404, "not_found", "no server is known to load models from such a folder")
    return json_answer(found)


async def get_embeddings(call: Call) -> Response:
    """Answer GET /embeddings: none are known, since no node lists them."""
    return json_answer([])


def files_of(union: Union, folder: str) -> list[str] | None:
    """Return the files of a folder, None for one that no server is known to have."""
    found, is_known = dict[str, None](), False
    for class_type, name in LOADERS.get(folder, ()):
        groups = _inputs(union.encoded.get(class_type))
        for group in groups.values():
            choices = choices_of(group.get(name)) if isinstance(group, dict) else None
            is_known = is_known or choices is not None
            found |= dict.fromkeys(one for one in choices or () if isinstance(one, str))
    return list(found) if is_known else None


def _inputs(text: bytes | None) -> Mapping[str, object]:
    inputs = _read_class(text).get("input") if text else None
    return inputs if isinstance(inputs, dict) else {}
