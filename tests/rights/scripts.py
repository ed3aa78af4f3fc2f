"""Every Lua script by the hash that EVALSHA names."""

from __future__ import annotations

import hashlib

from everfold.streams.redis.script import assemble
from tests.architecture.source_tree import ROOT

SHARED = ROOT / "streams" / "lua"


def sources() -> dict[str, tuple[str, str]]:
    """Return SHA-1 -> name and source of each script."""
    found = {}
    for folder in (SHARED, ROOT / "projector" / "lua"):
        for file in folder.glob("*.lua"):
            source = assemble(file.stem, (folder, SHARED))
            sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            found[sha] = (file.stem, source)
    return found
