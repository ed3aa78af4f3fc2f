"""What a job needs of a server: node classes, model files, labels. Computed from its graph alone.

Rule: pure and total. Jobs with equal needs have the same signature, and whatever server can run
one of them can run the others. A value is taken for a model file by its name: which inputs are
lists of files is known to servers only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from functools import lru_cache

import msgspec
from msgspec import Struct
from msgspec.structs import replace

MODEL_ENDINGS = (
    ".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf", ".onnx",
    ".engine", ".yaml",
)  # fmt: skip
"""Endings of the files that ComfyUI lists in its folders of models (folder_paths.py), and those of
common extensions."""

SIGNATURE_LETTERS = 16
"""64 bits: one namespace will not see two needs of one signature."""


class ModelFile(Struct, frozen=True, order=True):
    """A model file as an input of a node names it."""

    class_type: str
    input: str
    name: str
    """With "/" between folders, whatever the graph has."""


class Needs(Struct, frozen=True, cache_hash=True):
    """What a server must have to run a job."""

    classes: tuple[str, ...] = ()
    models: tuple[ModelFile, ...] = ()
    labels: tuple[str, ...] = ()
    """Of those that an operator gave the server by hand; each must be there."""

    def with_labels(self, labels: Collection[str]) -> Needs:
        """Return the same needs with other labels."""
        return replace(self, labels=tuple(sorted(set(labels))))

    @property
    def signature(self) -> str:
        """The same for equal needs; empty for none."""
        return _signature(self)


# Asked for each job of each server, and most jobs have the needs of a few workflows.
@lru_cache(maxsize=1_000)
def _signature(needs: Needs) -> str:
    if not (needs.classes or needs.models or needs.labels):
        return ""
    return hashlib.sha256(msgspec.json.encode(needs)).hexdigest()[:SIGNATURE_LETTERS]


def needs_of(
    graph: Mapping[str, object],
    labels: Collection[str] = (),
    targets: Collection[object] | None = None,
) -> Needs:
    """Return what an API-format graph needs; a node that makes no sense needs nothing.

    Of `targets`, where given, only what they are made of is run: it needs all classes, since a
    server looks at them first, and no model file of another node.
    """
    run = graph.keys() if targets is None else _made_of(graph, targets)
    classes, models = set[str](), set[ModelFile]()
    for node_id, node in graph.items():
        if not isinstance(node, Mapping) or not isinstance(node.get("class_type"), str):
            continue
        classes.add(str(node["class_type"]))
        for name, value in _inputs(node).items() if node_id in run else ():
            if is_model_file(value):
                models.add(ModelFile(str(node["class_type"]), str(name), with_slashes(str(value))))
    return Needs(tuple(sorted(classes)), tuple(sorted(models))).with_labels(labels)


def _made_of(graph: Mapping[str, object], targets: Collection[object]) -> set[str]:
    """Return some nodes, and those that their inputs lead to."""
    found, ahead = set[str](), [one for one in targets if isinstance(one, str)]
    while ahead:
        node_id = ahead.pop()
        if node_id in found or node_id not in graph:
            continue
        found.add(node_id)
        links = [value for value in _inputs(graph[node_id]).values() if isinstance(value, list)]
        ahead += [link[0] for link in links if link and isinstance(link[0], str)]
    return found


def _inputs(node: object) -> Mapping[str, object]:
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}


def is_model_file(value: object) -> bool:
    """Say whether an input's value is the name of a model file. A text of several lines is none."""
    is_name = isinstance(value, str) and len(value) < 1_000 and "\n" not in value
    return is_name and str(value).lower().endswith(MODEL_ENDINGS)


def with_slashes(name: str) -> str:
    """Return a file's name with "/" between its folders: a server on Windows lists "\\"."""
    return name.replace("\\", "/")
