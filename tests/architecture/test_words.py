"""docs/GLOSSARY.md names things as the code does, and words that it replaced do not come back."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.source_tree import PACKAGES, ROOT, Module, modules

SOURCES = modules(*PACKAGES)
GLOSSARY = re.findall(
    r"^\| \*\*(.+?)\*\* \| (.+?) \| `([\w.]+)` in `([\w/]+)` \|$",
    (ROOT / "docs" / "GLOSSARY.md").read_text(),
    re.MULTILINE,
)

REPLACED = {
    *("narrator", "berth", "roll", "forsake", "surroundings", "attention", "parcel", "theatre"),
    *("crew", "standing", "steering", "carrier", "ghost", "stranger", "ticket"),
    *("guard", "settle", "linger"),
}
"""Words that said in a way of our own what another word of the field says."""

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def defined(module: Module) -> Iterator[str]:
    """Yield what a module defines, as `name` and, for what is inside a class, `Class.name`."""
    for node in module.tree.body:
        yield from _names(node)
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for inner in node.body for name in _names(inner))


def _names(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            yield name


def identifiers(module: Module) -> Iterator[str]:
    """Yield every name in a module, that of its file included."""
    yield module.name
    for node in ast.walk(module.tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AsyncFunctionDef(name=name) | ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.arg(arg=name) | ast.alias(asname=str(name)):
                yield name


def words(name: str) -> set[str]:
    found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {word.lower().removesuffix("s") for word in found} | {word.lower() for word in found}


def replaced(module: Module) -> list[str]:
    return [name for name in identifiers(module) if words(name) & REPLACED]


def test_each_term_of_the_glossary_is_defined_where_it_says() -> None:
    by_place: dict[str, set[str]] = {}
    for module in SOURCES:
        names = set(defined(module))
        for place in (module.path.removesuffix(".py"), str(Path(module.path).parent)):
            by_place.setdefault(place, set()).update(names)

    assert len(GLOSSARY) > 30
    missing = [row for row in GLOSSARY if row[2] not in by_place.get(row[3], set())]
    assert missing == []


def test_each_term_has_one_row_and_one_sentence() -> None:
    counts = Counter(term for term, *_ in GLOSSARY)
    assert [term for term, count in counts.items() if count > 1] == []
    assert [m for _, m, *_ in GLOSSARY if not re.fullmatch(r"[A-Z][^.]*\.", m)] == []


def test_every_row_of_the_glossary_is_read() -> None:
    text = (ROOT / "docs" / "GLOSSARY.md").read_text()
    assert len(GLOSSARY) == text.count("\n| **")


def test_no_name_in_the_sources_is_a_word_that_was_replaced() -> None:
    assert {m.path: found for m in SOURCES if (found := replaced(m))} == {}
    scripts = [path for package in PACKAGES[:3] for path in (ROOT / package).rglob("*.lua")]
    assert [path.name for path in scripts if words(path.stem) & REPLACED] == []


def test_no_document_uses_a_word_that_was_replaced() -> None:
    found = {path.name: words(path.read_text()) & REPLACED for path in DOCUMENTS}
    assert {name: bad for name, bad in found.items() if bad} == {}


# The checks themselves.


def test_a_replaced_word_is_found_wherever_a_name_has_it() -> None:
    text = (
        "import a as carriers\nclass GhostEntry: ...\n"
        "def f(ticket, control, enroll): lease.ticket = standing_order"
    )
    found = replaced(Module("everfold.streams.roll", text))

    wanted = ["everfold.streams.roll", "carriers", "GhostEntry", "ticket", "ticket"]
    assert sorted(found) == sorted([*wanted, "standing_order"])


def test_what_a_class_defines_is_found_under_its_name() -> None:
    text = "LIMIT = 1\nclass Job:\n    seq: int = 0\n    def end(self): ...\nasync def run(): ..."

    assert set(defined(Module("a", text))) == {"LIMIT", "Job", "Job.seq", "Job.end", "run"}
