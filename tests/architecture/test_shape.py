from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from everfold.streams import errors
from tests.architecture.source_tree import PACKAGES, Module, modules

SOURCES = modules(*PACKAGES)
EVERYTHING = modules(*PACKAGES, "tests", "benchmarks", "examples")

DOCSTRING_LINES = 6
FILE_LINES = 400
FUNCTION_LINES = 40
ROOM_FILES = 15

DRAWINGS = {"everfold.streams.errors"}
"""Modules whose docstring draws something and may be longer."""

FORBIDDEN_WORDS = {"manager", "handler", "helper", "util"}
"""Names that say nothing about what a thing is."""


def words(name: str) -> set[str]:
    """Return the words of a snake_case or CamelCase name, in lower case and singular."""
    found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {word.lower().removesuffix("s") for word in found}


def names(module: Module) -> Iterator[str]:
    yield from module.name.split(".")
    # No syntax tree: those of all tests would take longer to make than all other looks at them.
    yield from re.findall(r"^\s*(?:class|(?:async )?def) (\w+)", module.text, re.MULTILINE)


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


def test_a_module_opens_with_one_to_six_lines_about_itself() -> None:
    written = [m for m in SOURCES if m.text.strip() and m.name not in DRAWINGS]
    lines = {module.path: docstring_lines(module) for module in written}

    assert {path: n for path, n in lines.items() if not 1 <= n <= DOCSTRING_LINES} == {}


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    lines = {module.path: module.line_count for module in EVERYTHING}

    assert {path: n for path, n in lines.items() if n > FILE_LINES} == {}


def test_no_function_is_longer_than_forty_lines() -> None:
    lengths = {f"{m.path}:{name}": n for m in SOURCES for name, n in function_lengths(m)}

    assert {where: n for where, n in lengths.items() if n > FUNCTION_LINES} == {}


def test_no_name_is_one_that_says_nothing() -> None:
    assert {m.path: found for m in EVERYTHING if (found := forbidden(m))} == {}


def test_a_folder_is_a_room_of_few_files() -> None:
    """`__init__.py` does not count: a newcomer does not open it."""
    rooms = Counter(str(Path(m.path).parent) for m in SOURCES if not m.is_package)

    assert {room: n for room, n in rooms.items() if n > ROOM_FILES} == {}


def test_the_drawn_tree_of_errors_is_the_real_one() -> None:
    drawn_depths = dict(_drawn())
    real = {
        name: len(value.__mro__) - len(errors.EverfoldError.__mro__)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.EverfoldError)
    }

    assert drawn_depths == real


def _drawn() -> Iterator[tuple[str, int]]:
    """Yield each error of the drawing with its depth: the root, branches, and lines of leaves."""
    assert errors.__doc__ is not None
    yield "EverfoldError", 0
    for line in errors.__doc__.splitlines():
        if branch := re.match(r"    [├└]── (\w+) ", line):
            yield branch[1], 1
        elif re.fullmatch(r"    [│ ]       (([A-Z]\w+)(, |,$|$))+", line):
            yield from ((leaf, 2) for leaf in re.findall(r"\w+", line))


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

    assert forbidden(Module("everfold.streams.utils", text)) == [
        "utils",
        "JobManager",
        "run_helper",
    ]


def test_the_docstring_of_a_function_does_not_count() -> None:
    text = 'async def long(self):\n    """One.\n\n    Two.\n    """\n    x = 1\n    y = 2\n'

    assert list(function_lengths(Module("a", text))) == [("long", 3)]


def test_blank_lines_of_a_docstring_do_not_count() -> None:
    assert docstring_lines(Module("a", '"""One.\n\nTwo.\nThree.\n"""')) == 3
