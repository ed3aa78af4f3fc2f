from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from streams import errors
from tests.architecture.source_tree import PACKAGES, Module, modules

SOURCES = modules(*PACKAGES)
EVERYTHING = modules(*PACKAGES, "tests", "benchmarks", "examples")

DOCSTRING_LINES = 6
FILE_LINES = 400
FUNCTION_LINES = 40

DRAWINGS = {"streams.errors"}
"""Modules whose docstring draws something and may be longer."""

FORBIDDEN_WORDS = {"manager", "handler", "helper", "util"}
"""Names that say nothing about what a thing is."""


def _by_path(module: Module) -> str:
    return module.path


def words(name: str) -> set[str]:
    """Return the words of a snake_case or CamelCase name, in lower case and singular."""
    found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {word.lower().removesuffix("s") for word in found}


def names(module: Module) -> Iterator[str]:
    yield from module.name.split(".")
    yield from (node.name for node in module.definitions())


def forbidden(module: Module) -> list[str]:
    return [name for name in names(module) if words(name) & FORBIDDEN_WORDS]


def docstring_lines(module: Module) -> int:
    return len([line for line in module.docstring.splitlines() if line.strip()])


def function_lengths(module: Module) -> Iterator[tuple[str, int]]:
    """Yield each function with its lines, its docstring not counted."""
    for node in module.definitions():
        if not isinstance(node, ast.ClassDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            told = len(docstring.splitlines())
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - told


@pytest.mark.parametrize(
    "module", [m for m in SOURCES if m.text.strip() and m.name not in DRAWINGS], ids=_by_path
)
def test_a_module_opens_with_one_to_six_lines_about_itself(module: Module) -> None:
    assert 1 <= docstring_lines(module) <= DOCSTRING_LINES


@pytest.mark.parametrize("module", EVERYTHING, ids=_by_path)
def test_no_file_is_longer_than_four_hundred_lines(module: Module) -> None:
    assert module.line_count <= FILE_LINES


@pytest.mark.parametrize("module", SOURCES, ids=_by_path)
def test_no_function_is_longer_than_forty_lines(module: Module) -> None:
    assert [name for name, lines in function_lengths(module) if lines > FUNCTION_LINES] == []


@pytest.mark.parametrize("module", EVERYTHING, ids=_by_path)
def test_no_name_is_one_that_says_nothing(module: Module) -> None:
    assert forbidden(module) == []


def test_the_drawn_tree_of_errors_is_the_real_one() -> None:
    drawn = re.findall(r"^([ │├└─]*)(\w+Error|[A-Z][a-z]\w+)(?: .*)?$", _drawing(), re.MULTILINE)
    drawn_depths = {name: len(indent) // 4 for indent, name in drawn}
    real = {
        name: len(value.__mro__) - len(errors.EverfoldError.__mro__)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.EverfoldError)
    }

    assert drawn_depths == real


def _drawing() -> str:
    assert errors.__doc__ is not None
    lines = errors.__doc__.splitlines()
    tree = [line for line in lines if re.match(r"    (EverfoldError|[│ ]*[├└]── )", line)]
    return "\n".join(line[4:] for line in tree)


# The checks themselves.


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("HTTPHandler", {"http", "handler"}),
        ("path_utils", {"path", "util"}),
        ("TaskManagers", {"task", "manager"}),
        ("_helper", {"helper"}),
        ("manageress", {"manageres"}),
    ],
)
def test_names_are_taken_apart_into_words(name: str, found: set[str]) -> None:
    assert words(name) == found


def test_a_forbidden_name_is_found_in_modules_classes_and_functions() -> None:
    text = "class JobManager: ...\nasync def run_helper(): ...\ndef fine(): ..."

    assert forbidden(Module("streams.utils", text)) == ["utils", "JobManager", "run_helper"]


def test_the_docstring_of_a_function_does_not_count() -> None:
    text = 'async def long(self):\n    """One.\n\n    Two.\n    """\n    x = 1\n    y = 2\n'

    assert list(function_lengths(Module("a", text))) == [("long", 3)]


def test_blank_lines_of_a_docstring_do_not_count() -> None:
    assert docstring_lines(Module("a", '"""One.\n\nTwo.\nThree.\n"""')) == 3
