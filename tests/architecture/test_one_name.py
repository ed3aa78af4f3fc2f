"""The import names are `everfold` and what is under it, for people, programs and tools alike."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable

import pytest
from mypy.main import process_options

from tests.architecture.source_tree import PACKAGES, ROOT, Module, modules

LINKED = PACKAGES[:3]
"""Folders at the root that are found in `everfold` by a link."""

ROOMS = {module.room for module in modules(*LINKED) if module.room not in LINKED}

EVERYTHING = modules(*PACKAGES, "tests", "benchmarks", "examples")

BARE = "|".join(LINKED)
BARE_MODULES = rf"(?:{BARE})\.(?:{'|'.join(sorted(ROOMS))})"
BARE_MENTIONS = re.compile(
    rf"(?:^|[;\n]) *(import (?:{BARE})\b)"
    rf"|\b(from (?:{BARE})(?:\.\w+)* import)\b"
    rf"|(?<![\w./])({BARE_MODULES})\b(?!\.py)"
)

PERHAPS_BARE = re.compile(
    rf"\b(?:from|import)\b.*(?<![\w.])(?:{BARE})\b|(?<![\w./]){BARE_MODULES}\b"
)
"""What a module has that is to be looked at: syntax trees of all would take ten times as long."""

PAGES = (
    "*.md",
    "docs/*.md",
    "deploy/*.*",
    "deploy/Dockerfile",
    "deploy/systemd/*",
    "deploy/kubernetes/*/*.yaml",
    "benchmarks/*.md",
    "Makefile",
    ".ci/*",
    "pyproject.toml",
)
"""Where else programs and commands are written."""


def bare_imports(module: Module) -> list[str]:
    """Return what it imports by a name that only this repository's root gives."""
    if not PERHAPS_BARE.search(module.text):
        return []
    return [name for name in module.imports() if name.partition(".")[0] in PACKAGES[:3]]


def bare_mentions(text: str) -> list[str]:
    """Return where a text imports, or names, a module by a bare name."""
    return ["".join(found) for found in BARE_MENTIONS.findall(text)]


def bare_names_in_strings(module: Module) -> list[str]:
    """Return the bare names in its strings: programs that it writes or runs, and docstrings."""
    if not PERHAPS_BARE.search(module.text.replace("\\n", "\n")):
        return []
    nodes = ast.walk(module.tree)
    texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [found for text in texts for found in bare_mentions(text)]


def test_nothing_is_imported_by_a_bare_name() -> None:
    assert {m.name: found for m in EVERYTHING if (found := bare_imports(m))} == {}


def test_no_program_in_a_string_and_no_page_has_a_bare_name() -> None:
    others = [m for m in EVERYTHING if m.name != __name__]  # here such names are what is tested

    assert {m.name: found for m in others if (found := bare_names_in_strings(m))} == {}
    for page in (path for pattern in PAGES for path in ROOT.glob(pattern)):
        assert bare_mentions(page.read_text()) == [], page.name


def repeated(paths: Iterable[str]) -> list[str]:
    """Return the files that are named more than once, by whatever way."""
    counts = Counter(os.path.realpath(path) for path in paths)
    return [path for path, count in counts.items() if count > 1]


def test_the_type_check_reads_each_file_once_and_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the configuration alone, as `mypy` without arguments does."""
    monkeypatch.chdir(ROOT)
    sources, _ = process_options([])
    paths = [source.path for source in sources if source.path]

    assert repeated(paths) == []
    assert {module.name for module in EVERYTHING} <= {source.module for source in sources}


def test_the_linter_reads_each_file_once_and_all_of_them() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--show-files", "."]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = shown.stdout.splitlines()

    assert repeated(paths) == []
    assert {str(ROOT / module.path) for module in EVERYTHING} <= set(paths)


def test_a_bare_import_is_found() -> None:
    module = Module("everfold.client", "from streams.errors import Unknown\nimport runner")

    assert bare_imports(module) == ["streams.errors.Unknown", "runner"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import os; import runner\n", ["import runner"]),
        ("  from projector.job import fold", ["from projector.job import"]),
        ("python -m streams.reading", ["streams.reading"]),
        ("import everfold.runner\nfrom everfold.streams.errors import Unknown", []),
        ("streams/errors.py, runner.slots, from runner to projector", []),
        ("import runners", []),
    ],
)
def test_a_bare_name_is_found_in_a_text(text: str, found: list[str]) -> None:
    assert bare_mentions(text) == found


def test_a_bare_name_is_found_in_a_program_in_a_string() -> None:
    module = Module("tests.streams.appending.test_log", 'PROGRAM = """\nimport streams\n"""')

    assert bare_names_in_strings(module) == ["import streams"]
