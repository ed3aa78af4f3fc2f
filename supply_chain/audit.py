"""Reports licences and known vulnerabilities of what is locked: `python -m supply_chain.audit`.

Rule: a licence that is not on the list, or an advisory, fails it; that the advisories could not be
asked for is said and does not. With the argument `licences` they are not asked for.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import msgspec
from msgspec import Struct

from supply_chain.lock_file import FOLDER, Locked, read_lock

ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CNRI-Python", "HPND", "ISC", "MIT"),
    *("MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib", "CC0-1.0"),
}
"""What may be used together with Apache-2.0, by its SPDX name. MPL-2.0 is for unchanged files."""

KNOWN = {
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""How older metadata writes them."""

TIMEOUT_S = 300.0


class Advisory(Struct, frozen=True):
    id: str


class Audited(Struct, frozen=True):
    """One package, as pip-audit reports it."""

    name: str
    version: str = ""
    vulns: list[Advisory] = []
    skip_reason: str | None = None
    """Why it was not checked; None when it was."""


class Report(Struct, frozen=True):
    dependencies: list[Audited]


def main() -> None:
    packages = read_lock("run")
    bad = refused(licences(packages))
    sys.stdout.write(f"licences: {len(packages)} packages of requirements/run.txt\n")
    for name, found in bad.items():
        sys.stdout.write(f"  {name}: {found}, which is not on the list of allowed ones\n")
    is_asked = sys.argv[1:] != ["licences"]
    sys.exit(1 if bad or (is_asked and has_advisories()) else 0)


def licences(packages: Iterable[Locked]) -> dict[str, str]:
    """Return what each package says of its licence; those of other platforms say nothing here."""
    found: dict[str, str] = {}
    for one in packages:
        try:
            found[one.name] = licence(distribution(one.name))
        except PackageNotFoundError:
            found[one.name] = "" if one.marker else "not installed"
    return found


def licence(package: Distribution) -> str:
    """Return an SPDX expression where the metadata has one, else what it has."""
    metadata = package.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classifiers = metadata.get_all("Classifier") or []
    named = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License :: OSI A")]
    named = [one for one in named if one != "OSI Approved"] or metadata.get_all("License") or []
    return " AND ".join(KNOWN.get(one, one) for one in named) or "no licence named"


def refused(found: Mapping[str, str]) -> dict[str, str]:
    """Return the packages whose licence is not allowed. Of two that are offered, one is enough."""
    return {name: text for name, text in found.items() if text and not is_allowed(text)}


def is_allowed(expression: str) -> bool:
    flat = re.sub(r"[()]", "", expression)
    return all(
        any(choice.strip() in ALLOWED for choice in part.split(" OR "))
        for part in flat.split(" AND ")
    )


def has_advisories() -> bool:
    """Ask pip-audit; say what it says, or that it cannot be asked from here."""
    audit = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"]
    lock = ["--disable-pip", "--require-hashes", "--requirement", str(FOLDER / "run.txt")]
    try:
        done = subprocess.run([*audit, *lock], capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        sys.stdout.write(f"advisories: no answer within {TIMEOUT_S:g} s; not checked\n")
        return False
    try:
        report = msgspec.json.decode(done.stdout, type=Report)
    except msgspec.DecodeError:
        last = (done.stderr.strip() or "no reason given").splitlines()[-1]
        sys.stdout.write(f"advisories: pip-audit gives no report; not checked ({last})\n")
        return False
    sys.stdout.write("\n".join(told(report)) + "\n")
    return any(one.vulns for one in report.dependencies)


def told(report: Report) -> list[str]:
    """Return a report as lines; what could not be checked is never counted as checked."""
    checked = [one for one in report.dependencies if one.skip_reason is None]
    skipped = [one for one in report.dependencies if one.skip_reason is not None]
    lines = [f"advisories: {len(checked)} of {len(report.dependencies)} packages checked"]
    if skipped:
        lines.append(f"  {len(skipped)} not checked from here, such as: {skipped[0].skip_reason}")
    for one in checked:
        lines += (f"  {one.name} {one.version}: {each.id}" for each in one.vulns)
    return lines


if __name__ == "__main__":
    main()
