"""Writes the list of what a wheel may bring along, as CycloneDX: `python -m supply_chain.sbom`.

Rule: it comes from the lock alone and has no time and no random number, so that the same lock
gives the same bytes. The wheel carries it under .dist-info/sboms (PEP 770).
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence

import msgspec

import everfold
from supply_chain.lock_file import FOLDER, ROOT, Locked, read_lock

FILE = FOLDER / "everfold.cdx.json"


def main() -> None:
    FILE.write_bytes(sbom(read_lock("run")))
    sys.stdout.write(f"{FILE} written\n")


def sbom(packages: Sequence[Locked]) -> bytes:
    """Return the document. Packages of extras are optional, those of every installation required.

    Whose versions they are: the ones that are tested together. An installation by pip may have
    newer ones within the bounds of pyproject.toml.
    """
    required = _required(packages)
    own = f"pkg:pypi/everfold@{everfold.__version__}"
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "library",
                "bom-ref": own,
                "name": "everfold",
                "version": everfold.__version__,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "purl": own,
            },
        },
        "components": [
            {
                "type": "library",
                "bom-ref": purl(one),
                "name": one.name,
                "version": one.version,
                "scope": "required" if one.name in required else "optional",
                "purl": purl(one),
            }
            for one in packages
        ],
        "dependencies": _dependencies(own, packages),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def purl(package: Locked) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _dependencies(own: str, packages: Sequence[Locked]) -> list[Mapping[str, object]]:
    needs: dict[str, list[str]] = {ref: [] for ref in (own, *map(purl, packages))}
    by_name = {one.name: purl(one) for one in packages}
    for one in packages:
        for parent in one.via:
            needs[by_name.get(parent, own)].append(purl(one))
    return [{"ref": ref, "dependsOn": sorted(set(on))} for ref, on in needs.items()]


def _required(packages: Sequence[Locked]) -> set[str]:
    """Return the names of what is installed without any extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {re.split(r"[^a-z0-9-]", one)[0] for one in project["dependencies"]}
    while more := {
        one.name for one in packages if found.intersection(one.via) and one.name not in found
    }:
        found |= more
    return found


if __name__ == "__main__":
    main()
