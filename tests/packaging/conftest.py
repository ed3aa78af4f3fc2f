"""Everfold as users get it: built once a session, installed into environments of its own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest
from msgspec import Struct

from tests.support.programs.programs import ROOT


class Built(Struct, frozen=True):
    wheel: Path
    sdist: Path
    wheel_of_sdist: Path
    """The wheel that is made from the unpacked sdist."""
    editable: Path
    """The wheel that an editable installation of the tree installs."""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    sdist = build(ROOT, "sdist", folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return Built(
        wheel=build(ROOT, "wheel", folder / "wheel"),
        sdist=sdist,
        wheel_of_sdist=build(unpacked, "wheel", folder / "wheel-of-sdist"),
        editable=build(ROOT, "wheel:editable", folder / "editable"),
    )


class Installed(Struct, frozen=True):
    python: Path
    package: Path
    """Where its `everfold` lies."""


@pytest.fixture(scope="session", params=["wheel", "editable"])
def installed(
    request: pytest.FixtureRequest, built: Built, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    """An environment that has Everfold; what Everfold needs it shares with ours."""
    folder = tmp_path_factory.mktemp(request.param) / "venv"
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    # A folder named like this is searched, but the .pth files in it are not read: an editable
    # Everfold of ours is not seen.
    shared = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "dependencies.pth").write_text("\n".join(sorted(shared)))
    wheel = built.wheel if request.param == "wheel" else built.editable
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-cache-dir", str(wheel)])
    return Installed(python, (packages if request.param == "wheel" else ROOT) / "everfold")


def build(source: Path, target: str, folder: Path) -> Path:
    """Build one distribution of a source tree into a folder of its own."""
    run([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)], source)
    (distribution,) = folder.iterdir()
    return distribution


def run(command: list[str], folder: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
