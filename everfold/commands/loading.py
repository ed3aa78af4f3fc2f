"""Loading a projection that somebody wrote: `--projection module:name`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from everfold.projector.folding.custom_projection import Projection
from everfold.streams.errors import Misconfigured


def load_projection(place: str) -> Projection[object]:
    """Import `module:name`; modules of the current folder are found too.

    Raises Misconfigured with a sentence for whatever is wrong with it.
    """
    module_name, _, name = place.partition(":")
    if not module_name or not name:
        raise Misconfigured(f"{place!r} does not name a projection; write module:name")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise Misconfigured(
            f"{module_name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, Projection):
        what = "has no" if found is None else f"has a {type(found).__name__} as"
        raise Misconfigured(f"{module_name} {what} {name!r}, where a Projection is expected")
    return found
