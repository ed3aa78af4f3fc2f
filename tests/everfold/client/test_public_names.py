"""What `everfold` offers: every name resolves and is explained."""

from __future__ import annotations

import ast
import pkgutil
import re
import sys
from collections import Counter
from types import ModuleType

import pytest

import everfold
import everfold.web
from everfold.streams import errors
from tests.architecture.source_tree import ROOT, modules

ROOT_MODULE = next(module for module in modules("everfold") if module.name == "everfold")
ROOMS = r"(?:sync|testing|web|webhooks) import"
"""Of what has names of its own."""
PAGE = (ROOT / "docs" / "API.md").read_text()


def imported_for_type_checkers() -> dict[str, str]:
    """Return the module of each name that type checkers and editors are told of."""
    return {
        alias.name: node.module or ""
        for node in ast.walk(ROOT_MODULE.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("everfold.")
        for alias in node.names
    }


def test_every_public_name_is_what_type_checkers_take_it_for() -> None:
    homes = imported_for_type_checkers()

    assert sorted([*homes, "__version__"]) == sorted(everfold.__all__)
    for name, home in homes.items():
        __import__(home)
        assert getattr(everfold, name) is getattr(sys.modules[home], name), name


def test_dir_names_them_all() -> None:
    assert set(everfold.__all__) <= set(dir(everfold))


def test_a_name_that_there_is_not_is_refused_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match=r"module 'everfold' has no attribute 'nonsense'"):
        everfold.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_every_error_is_public() -> None:
    ours = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.EverfoldError)
    }

    assert ours <= set(everfold.__all__)


def test_the_page_explains_every_name_once_and_no_other() -> None:
    explained = re.findall(r"^ *- `(\w+)`: \w", PAGE, re.MULTILINE)

    assert Counter(explained) == Counter(name for name in everfold.__all__ if name[0] != "_")


def test_readme_docs_and_examples_import_from_the_root_only() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.py")]

    for page in pages:
        deep = re.findall(
            rf"^ *(?:from|import) everfold\.(?!{ROOMS}).*", page.read_text(), re.MULTILINE
        )
        assert deep == [], page.name


@pytest.mark.parametrize("package", [everfold, everfold.web], ids=lambda one: one.__name__)
def test_no_name_that_is_imported_late_is_that_of_a_module(package: ModuleType) -> None:
    modules = {found.name for found in pkgutil.iter_modules(package.__path__)}
    assert modules.isdisjoint(package.__all__), "an import of the module would take its place"
