"""The wheel and the sdist: everything of Everfold, each file once, and nothing else."""

from __future__ import annotations

import tarfile
from collections import Counter
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import everfold
from tests.architecture.source_tree import PACKAGES
from tests.packaging.conftest import Built
from tests.support.programs.programs import ROOT

PROSE = {
    *("CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"),
    "requirements/everfold.cdx.json",
}
"""What a sdist has besides the package."""


def source_files() -> set[str]:
    """Return every file of the package, by its place under `everfold/`."""
    found = set[str]()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                place = path.relative_to(ROOT).as_posix()
                found.add(place if package == "everfold" else f"everfold/{place}")
    return found


def wheel_files(wheel: Path) -> list[str]:
    return [name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name]


def sdist_files(sdist: Path) -> list[str]:
    """Return its files, without the folder that they all lie in."""
    with tarfile.open(sdist) as archive:
        return [member.name.partition("/")[2] for member in archive if member.isfile()]


def top_level(names: list[str]) -> set[str]:
    return {first_part(name) for name in names}


def first_part(name: str) -> str:
    return name.partition("/")[0]


def test_the_wheel_installs_everfold_alone(built: Built) -> None:
    names = ZipFile(built.wheel).namelist()

    assert top_level(names) == {"everfold", f"everfold-{everfold.__version__}.dist-info"}


def test_the_wheel_has_every_file_of_the_package_once(built: Built) -> None:
    assert Counter(wheel_files(built.wheel)) == Counter(source_files())


def test_the_sdist_has_every_file_of_the_package_once_and_no_tests(built: Built) -> None:
    names = sdist_files(built.sdist)

    assert top_level(names) == {"everfold", *map(first_part, PROSE)}
    assert Counter(name for name in names if name not in PROSE) == Counter(source_files())


def test_each_script_is_in_both_once(built: Built) -> None:
    scripts = Counter(path.name for package in PACKAGES for path in (ROOT / package).rglob("*.lua"))

    assert len(scripts) > 20
    for names in (wheel_files(built.wheel), sdist_files(built.sdist)):
        assert Counter(Path(name).name for name in names if name.endswith(".lua")) == scripts


def test_the_wheel_made_from_the_sdist_is_the_same(built: Built) -> None:
    from_tree, from_sdist = ZipFile(built.wheel), ZipFile(built.wheel_of_sdist)

    assert sorted(from_sdist.namelist()) == sorted(from_tree.namelist())
    for name in from_tree.namelist():
        assert from_sdist.read(name) == from_tree.read(name), name


def test_the_version_is_that_of_the_package(built: Built) -> None:
    metadata = ZipFile(built.wheel).read(f"everfold-{everfold.__version__}.dist-info/METADATA")

    assert HeaderParser().parsestr(metadata.decode())["Version"] == everfold.__version__
