"""Graphs that need models: ComfyUI's own default one, and any node class with what feeds it."""

from __future__ import annotations

from everfold.simulator.nodes.node import Node
from everfold.simulator.nodes.shapes import Files, FilesOf, InputFile, choices

Graph = dict[str, dict[str, object]]

CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"


def node(class_type: str, **inputs: object) -> dict[str, object]:
    return {"class_type": class_type, "inputs": inputs}


def default_graph(seed: int = 7, steps: int = 5, checkpoint: str = CHECKPOINT) -> Graph:
    """Return what ComfyUI shows when it is opened first."""
    sampling = {"steps": steps, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal"}
    return {
        "3": node(
            "KSampler",
            seed=seed,
            **sampling,
            denoise=1.0,
            model=["4", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "5": node("EmptyLatentImage", width=64, height=48, batch_size=1),
        "6": node("CLIPTextEncode", text="a glass bottle, purple galaxy", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="text, watermark", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", filename_prefix="ComfyUI", images=["8", 0]),
    }


def image_to_image(picture: str, denoise: float, seed: int = 7) -> Graph:
    """Return the default graph with an uploaded picture in place of the empty latent."""
    graph = default_graph(seed)
    graph["3"] = {**graph["3"], "inputs": {**_inputs(graph["3"]), "denoise": denoise}}
    graph["1"] = node("LoadImage", image=picture)
    graph["5"] = node("VAEEncode", pixels=["1", 0], vae=["4", 2])
    return graph


def _inputs(of: dict[str, object]) -> dict[str, object]:
    inputs = of["inputs"]
    assert isinstance(inputs, dict)
    return inputs


SOURCES = {
    "IMAGE": ("EmptyImage", 0),
    "MASK": ("LoadImage", 1),
    "MODEL": ("CheckpointLoaderSimple", 0),
    "CLIP": ("CheckpointLoaderSimple", 1),
    "VAE": ("CheckpointLoaderSimple", 2),
    "LATENT": ("EmptyLatentImage", 0),
    "CONDITIONING": ("CLIPTextEncode", 0),
    "CONTROL_NET": ("ControlNetLoader", 0),
    "UPSCALE_MODEL": ("UpscaleModelLoader", 0),
    "*": ("EmptyImage", 0),
}
"""A class whose output has the type, and the output's slot."""

SMALL = {"width": 64, "height": 64, "batch_size": 1, "length": 5, "steps": 3, "seconds": 0.1}


def graph_of(class_type: str, nodes: dict[str, Node], files: Files) -> Graph:
    """Return a graph that runs one class, each input connected or at its default."""
    graph: Graph = {}

    def add(name: str) -> str:
        if name not in graph:
            required = nodes[name].required
            graph[name] = {}
            inputs = {key: value(key, *choices(spec, files)) for key, spec in required.items()}
            graph[name] = node(name, **inputs)
        return name

    def value(key: str, kind: object, options: dict[str, object]) -> object:
        if isinstance(kind, list):
            return kind[0]
        if isinstance(kind, str) and kind in SOURCES:
            source, slot = SOURCES[kind]
            return [add(source), slot]
        assert not isinstance(kind, FilesOf | InputFile)
        return SMALL.get(key, options.get("default", "text"))

    add(class_type)
    if not nodes[class_type].is_output:
        graph["end"] = node("PreviewAny", source=[class_type, 0])
    return graph
