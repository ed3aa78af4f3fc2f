"""Finds ComfyUI's web front end on this machine.

Rule: it is the user's own installation. Nothing of it is imported, copied or changed, and Everfold
works without it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from everfold.streams.errors import Misconfigured
from everfold.streams.private_folder import expanded

PACKAGE = "comfyui_frontend_package"
"""The Python package that holds the built front end."""
INDEX = "index.html"

_WITHIN = (
    "",
    "static",
    f"{PACKAGE}/static",
    "web",
    f"lib/python*/site-packages/{PACKAGE}/static",
    f".venv/lib/python*/site-packages/{PACKAGE}/static",
    f"venv/lib/python*/site-packages/{PACKAGE}/static",
)
"""Where it lies inside the folder that was named: the built front end, what was unpacked of its
wheel, a virtual environment, or a folder of ComfyUI."""


def find_front_end(named: str) -> Path | None:
    """Return the folder of the front end: inside the one that was named, else that of an installed
    package; None where there is none.

    Raises Misconfigured when a folder was named and holds none.
    """
    if named:
        return _inside(expanded(named))
    found = importlib.util.find_spec(PACKAGE)
    for place in (found and found.submodule_search_locations) or ():
        folder = Path(place) / "static"
        if (folder / INDEX).is_file():
            return folder.resolve()
    return None


def find_templates(front_end: Path) -> tuple[Path, ...]:
    """Return the folders of workflow templates that are installed beside a front end's package."""
    beside = front_end.parent.parent
    return tuple(sorted(path for path in beside.glob("comfyui_workflow_templates*/templates")))


def _inside(root: Path) -> Path:
    for folder in _candidates(root):
        if (folder / INDEX).is_file():
            return folder.resolve()
    raise Misconfigured(
        f"no web front end of ComfyUI in {root}: name the folder that has its {INDEX}, a virtual "
        f"environment with {PACKAGE}, or a ComfyUI folder that has one"
    )


def _candidates(root: Path) -> Iterator[Path]:
    for pattern in _WITHIN:
        yield from sorted(root.glob(pattern)) if pattern else [root]
