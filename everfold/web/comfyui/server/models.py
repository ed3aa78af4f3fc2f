"""The model files of all servers, as the choices of their loaders say: /models, and /embeddings.

Rule: a folder is known by the node that loads from it; one that no core node loads from is not.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
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


class ModelFolder(Struct, frozen=True):
    """A folder of models, as the front end's library of models shows it."""

    name: str
    folders: list[str] = []
    """Where it is on one machine; many have one here."""


class ModelFile(Struct, frozen=True, rename="camel"):
    """A model file of a folder, the same."""

    name: str
    path_index: int = 0


async def get_models(call: Call) -> Response:
    """Answer GET /models: the folders."""
    return json_answer(await _folders(call))


async def get_models_of(call: Call) -> Response:
    """Answer GET /models/{folder}: its files."""
    return json_answer(await _files(call))


async def get_model_folders(call: Call) -> Response:
    """Answer GET /experiment/models, which the front end asks in place of /models."""
    return json_answer([ModelFolder(folder) for folder in await _folders(call)])


async def get_model_files(call: Call) -> Response:
    """Answer GET /experiment/models/{folder}."""
    return json_answer([ModelFile(name) for name in await _files(call)])


async def _folders(call: Call) -> list[str]:
    union = (await call.gateway.catalogue.known()).union
    return [folder for folder in LOADERS if files_of(union, folder) is not None]


async def _files(call: Call) -> list[str]:
    folder = call.request.path_params["folder"]
    found = files_of((await call.gateway.catalogue.known()).union, folder)
    if found is None:
        raise Problem(404, "not_found", "no server is known to load models from such a folder")
    return found


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
