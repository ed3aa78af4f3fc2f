"""Reads the lock files under requirements/: names, versions, hashes, and who needs what.

Rule: the files are what `uv pip compile --generate-hashes` writes, with its `# via` comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "requirements"

_PIN = re.compile(r"([a-z0-9][a-z0-9-]*)==(\S+?)(?: ; (.+?))? \\")
_HASH = re.compile(r"    --hash=sha256:([0-9a-f]{64})(?: \\)?")
_VIA = re.compile(r"    #   (?:via )?(\S.*)|    # via (\S.*)")


class Locked(Struct, frozen=True):
    """One package as it is locked."""

    name: str
    version: str
    marker: str
    """Where it is needed, such as sys_platform == 'win32'; empty for everywhere."""
    hashes: tuple[str, ...]
    """SHA-256 of each file of that version, of all platforms."""
    via: tuple[str, ...]
    """Names of the packages that need it; the project's own begin with `everfold`."""


def read_lock(name: str) -> list[Locked]:
    """Return what one file locks, sorted by name. Raises ValueError for a line of another kind."""
    return list(parse_lock((FOLDER / f"{name}.txt").read_text()))


def parse_lock(text: str) -> Iterator[Locked]:
    """Yield what a lock says. Raises ValueError for a line of another kind, or without hashes."""
    for block in re.split(r"\n(?=\S)", text.rstrip("\n")):
        first, *rest = block.split("\n")
        pin = _PIN.fullmatch(first)
        hashes = [found[1] for line in rest if (found := _HASH.fullmatch(line))]
        via = [found[1] or found[2] for line in rest if (found := _VIA.fullmatch(line))]
        if pin is None or not hashes:
            raise ValueError(f"no package with its hashes: {first!r}")
        comments = [line for line in rest if line.startswith("    #")]
        if len(hashes) + len(comments) != len(rest):
            raise ValueError(f"a line of another kind at {first!r}")
        needed_by = tuple(one for one in via if not one.startswith("-c "))
        yield Locked(pin[1], pin[2], pin[3] or "", tuple(hashes), needed_by)
