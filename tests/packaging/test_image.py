"""The wheel that the image installs, made from what the Dockerfile copies: links stay links."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from zipfile import ZipFile

from tests.packaging.conftest import Built, build
from tests.support.programs.programs import ROOT

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
STAGES = DOCKERFILE.split("\nFROM ")
SENT = (ROOT / ".dockerignore").read_text().splitlines()


def copied(stage: str) -> list[str]:
    """Return what a stage copies from the repository, by its COPY lines."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", stage, re.MULTILINE)
    return [name.rstrip("/") for line in lines for name in line.split()]


def test_the_image_is_built_from_the_whole_package(built: Built, tmp_path: Path) -> None:
    names = copied(STAGES[1])
    source = tmp_path / "src"
    source.mkdir()
    for name in names:
        assert f"!{name}" in SENT
        if (ROOT / name).is_dir():
            without_caches = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=without_caches)
        else:
            shutil.copy(ROOT / name, source)

    wheel = build(source, "wheel", tmp_path / "wheel")

    assert sorted(ZipFile(wheel).namelist()) == sorted(ZipFile(built.wheel).namelist())
