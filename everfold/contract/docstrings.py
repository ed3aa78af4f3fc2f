"""Reads the docstrings of a source's classes, and the string literals below their fields.

Rule: pure.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from itertools import pairwise


def docstrings(source: str) -> dict[str, str]:
    """Return `Class` and `Class.field` -> its docstring, on one line.

    A field without a docstring has that of the alias it is annotated with.
    """
    module = ast.parse(source)
    aliases = dict(_documented(module.body))
    found: dict[str, str] = {}
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            said = dict(_aliased(node.body, aliases)) | dict(_documented(node.body))
            found[node.name] = one_line(ast.get_docstring(node) or "")
            found |= {f"{node.name}.{field}": words for field, words in said.items()}
    return found


def _documented(body: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, below in pairwise(body):
        name = _assigned(statement)
        match below:
            case ast.Expr(value=ast.Constant(value=str(words))) if name:
                yield name, one_line(words)


def _aliased(body: Iterable[ast.stmt], aliases: dict[str, str]) -> Iterator[tuple[str, str]]:
    for statement in body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=ast.Name(id=alias)):
                if alias in aliases:
                    yield name, aliases[alias]


def _assigned(statement: ast.stmt) -> str:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return ""


def one_line(words: str) -> str:
    """Return the words with every run of whitespace as one space."""
    return " ".join(words.split())
