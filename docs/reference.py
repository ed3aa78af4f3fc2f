"""Writes the reference of the Python API: `make docs`. It asks nothing of the network.

Rule: each public name stands on its page with its docstring, a client's inherited calls too.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pdoc
import pdoc.render

import everfold
from everfold import sync

MODULES = ("everfold", "everfold.sync", "everfold.webhooks", "everfold.testing", "everfold.web")


def main(folder: str = "build/reference") -> None:
    """Write the pages into a folder."""
    for owner in (everfold.Everfold, sync.Everfold, everfold.Log):
        _take_over(owner)
    for name in MODULES:
        module = import_module(name)
        for one in module.__all__:
            getattr(module, one)  # before a submodule of this name takes its place
    pdoc.render.configure(docformat="markdown", show_source=False)
    # Submodules are where things are made, and may move: only what is named here is public.
    private = [f"!{name}.{one}" for name in MODULES for one in _submodules(name)]
    pdoc.pdoc(*MODULES, *private, output_directory=Path(folder))


def _take_over(owner: type) -> None:
    """Let a class be told with the calls of its parts, which have no pages of their own."""
    for part in owner.__mro__[1:-1]:
        for name, value in vars(part).items():
            if not name.startswith("_") and name not in vars(owner):
                setattr(owner, name, value)


def _submodules(name: str) -> list[str]:
    folder = Path(str(import_module(name).__file__)).parent
    found = {path.name.removesuffix(".py") for path in folder.iterdir()}
    public = {one.rpartition(".")[2] for one in MODULES if one.rpartition(".")[0] == name}
    return sorted(one for one in found - public if one.isidentifier() and one != "__init__")


if __name__ == "__main__":
    main(*sys.argv[1:])
