"""The same source gives the same bytes, wherever, whenever and by whomever it is built."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest

import everfold
from tests.packaging.conftest import Built, build
from tests.support.programs.programs import ROOT

MADE = shutil.ignore_patterns(
    ".git", ".venv*", "dist", "build", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info"
)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source in another folder, older, and readable by its owner alone."""
    folder = tmp_path_factory.mktemp("elsewhere") / "a folder of another name"
    shutil.copytree(ROOT, folder, symlinks=True, ignore=MADE)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)
            os.utime(path, (10**9, 10**9))
    return folder


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_two_builds_have_the_same_bytes(
    built: Built,
    elsewhere: Path,
    target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = built.wheel if target == "wheel" else built.sdist
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    umask = os.umask(0o077)
    try:
        second = build(elsewhere, target, tmp_path / "second")
    finally:
        os.umask(umask)

    assert second.name == first.name
    assert second.read_bytes() == first.read_bytes()


def test_a_change_of_the_source_changes_the_bytes(
    built: Built, elsewhere: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(elsewhere, changed, symlinks=True)
    with (changed / "everfold" / "client.py").open("a") as file:
        file.write("# another line\n")

    assert build(changed, "wheel", tmp_path / "wheel").read_bytes() != built.wheel.read_bytes()


def test_the_wheel_carries_the_list_of_its_components(built: Built) -> None:
    wheel = ZipFile(built.wheel)
    folder = f"everfold-{everfold.__version__}.dist-info"

    assert (
        wheel.read(f"{folder}/sboms/everfold.cdx.json")
        == (ROOT / "requirements" / "everfold.cdx.json").read_bytes()
    )
    assert f"{folder}/sboms/everfold.cdx.json,sha256=" in wheel.read(f"{folder}/RECORD").decode()
