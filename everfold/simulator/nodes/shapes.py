"""What a node class looks like from outside: inputs, outputs, and its place in `/object_info`.

Rule: pure. A file input names a folder; the list of its files is asked from `Files` each time.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class FilesOf(Struct, frozen=True):
    """The type of an input whose choices are the model files of one folder."""

    folder: str


class InputFile(Struct, frozen=True):
    """The type of an input that names an uploaded file, as `sub/name.png [temp]`."""


Kind = str | list[str] | FilesOf | InputFile
"""A type name, a list of choices, or a list of files."""

InputSpec = tuple[Kind, dict[str, object]]
"""The type of an input, and its options."""


class Files(Protocol):
    """The files that a server has at this moment."""

    def models(self, folder: str) -> list[str]:
        """Return the file names of a model folder."""

    def uploads(self) -> list[str]:
        """Return the names of uploaded files."""

    def has_upload(self, name: str) -> bool:
        """Say whether a graph may name this file."""


class NodeShape(Struct, frozen=True):
    required: dict[str, InputSpec]
    returns: tuple[str, ...] = ()
    optional: dict[str, InputSpec] = {}
    is_output: bool = False
    module: str = "nodes"
    """The Python module that ComfyUI names in `/object_info`."""
    category: str = ""
    display_name: str = ""
    """Shown to people; the name of the class when empty."""
    return_names: tuple[str, ...] = ()
    """The names of the outputs; those of their types when empty."""


def whole(default: int, least: int, most: int, step: int = 1) -> InputSpec:
    """Return the specification of an INT."""
    return "INT", {"default": default, "min": least, "max": most, "step": step}


def real(default: float, least: float, most: float, step: float = 0.1) -> InputSpec:
    """Return the specification of a FLOAT."""
    return "FLOAT", {"default": default, "min": least, "max": most, "step": step}


def choices(spec: InputSpec, files: Files) -> InputSpec:
    """Return a specification with its files listed, as `/object_info` shows it."""
    kind, options = spec
    match kind:
        case FilesOf(folder):
            return files.models(folder), options
        case InputFile():
            return files.uploads(), options
    return spec


def described(name: str, shape: NodeShape, files: Files) -> dict[str, object]:
    """Return a node class as `GET /object_info` shows it."""
    inputs = {"required": shape.required}
    if shape.optional:
        inputs["optional"] = shape.optional
    return {
        "input": {
            group: {key: list(choices(spec, files)) for key, spec in specs.items()}
            for group, specs in inputs.items()
        },
        "input_order": {group: list(specs) for group, specs in inputs.items()},
        "output": list(shape.returns),
        "output_is_list": [False] * len(shape.returns),
        "output_name": list(shape.return_names or shape.returns),
        "name": name,
        "display_name": shape.display_name or name,
        "description": "",
        "python_module": shape.module,
        "category": shape.category,
        "output_node": shape.is_output,
    }
