"""The lock files: complete, of one mind, and of no place in particular."""

from __future__ import annotations

import re
import tomllib
from collections import Counter

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply_chain.lock_file import FOLDER, ROOT, parse_lock, read_lock

NAMES = ("build", "dev", "image", "run")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def extras(*names: str) -> list[Requirement]:
    """Return what the project needs with some extras, those that extras name included."""
    found = list[Requirement]()
    for name in names:
        for one in map(Requirement, PROJECT["project"]["optional-dependencies"][name]):
            found += extras(*one.extras) if one.name == "everfold" else [one]
    return found


def group(name: str) -> list[Requirement]:
    found = list[Requirement]()
    for one in PROJECT["dependency-groups"][name]:
        found += group(one["include-group"]) if isinstance(one, dict) else [Requirement(one)]
    return found


ALWAYS = [Requirement(one) for one in PROJECT["project"]["dependencies"]]

DECLARED = {
    "build": group("build") + [Requirement(one) for one in PROJECT["build-system"]["requires"]],
    "dev": ALWAYS + extras("all") + group("dev"),
    "image": ALWAYS + extras("cli", "server", "postgres", "erase", "assets", "otel"),
    "run": ALWAYS + extras("all"),
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_declared_is_locked_within_its_bounds(name: str) -> None:
    locked = {one.name: one.version for one in read_lock(name)}
    for one in DECLARED[name]:
        assert one.specifier.contains(locked[canonicalize_name(one.name)]), one


@pytest.mark.parametrize("name", NAMES)
def test_what_is_locked_is_needed_by_something_that_is_locked(name: str) -> None:
    locked = read_lock(name)
    names = {one.name for one in locked}
    for one in locked:
        assert one.via, one.name
        assert all(
            parent in names or parent.startswith(("everfold", "pyproject.toml"))
            for parent in one.via
        ), one


def test_all_locks_have_the_same_versions_and_hashes() -> None:
    # A package is locked twice where an older Python needs an older version of it.
    everything = {(one.name, one.version): one.hashes for one in read_lock("dev")}
    for name in NAMES:
        for one in read_lock(name):
            assert one.hashes == everything.get((one.name, one.version)), one.name


def test_a_package_is_locked_twice_only_under_markers() -> None:
    for name in NAMES:
        locked = read_lock(name)
        twice = {one for one, count in Counter(one.name for one in locked).items() if count > 1}
        assert all(one.marker for one in locked if one.name in twice), name


@pytest.mark.parametrize("name", NAMES)
def test_no_lock_names_an_index_or_a_place(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()

    assert not re.search(r"://|^-|file:| @ |--index|--find|--extra", text, re.MULTILINE)


def test_files_of_several_platforms_and_pythons_are_locked() -> None:
    hashes = {one.name: len(one.hashes) for one in read_lock("run")}

    assert hashes["httpx"] == 2  # one wheel for all, and the source
    assert hashes["hiredis"] > 50


@pytest.mark.parametrize(
    "text",
    [
        "httpx==1.0",
        "httpx>=1.0 \\\n    --hash=sha256:" + 64 * "0",
        "--index-url https://example.com\nhttpx==1.0 \\\n    --hash=sha256:" + 64 * "0",
        "httpx==1.0 \\\n    --hash=md5:" + 32 * "0",
    ],
)
def test_a_line_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"httpx|index"):
        list(parse_lock(text))
