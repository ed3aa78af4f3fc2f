"""What the program says itself is not masked as a secret: its advice arrives as it is written."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from everfold.streams.border.addresses import masked_text
from tests.architecture.source_tree import PACKAGES, modules

SHOWN_AS_THEY_ARE = {
    "everfold/commands/config/backend_settings.py": "a row of docs/CONFIGURATION.md",
    "everfold/commands/gateway/keys.py": "said on standard output",
    "everfold/web/access/doorkeeper.py": "an answer of the gateway",
    "everfold/web/openapi/document.py": "the gateway's document",
    "streams/border/addresses.py": "what is masked, as a pattern",
    "streams/connections/replies.py": "how replies begin, as a pattern",
}
"""Files with a sentence that masks would change, each with where that sentence is shown."""


def test_no_sentence_of_the_program_looks_like_a_secret() -> None:
    found = {
        (module.path, sentence)
        for module in modules(*PACKAGES)
        for sentence in sentences(module.tree)
        if masked_text(sentence) != sentence
    }
    assert {path for path, _ in found} == SHOWN_AS_THEY_ARE.keys(), found
    assert len(found) == len(SHOWN_AS_THEY_ARE), found


def sentences(tree: ast.Module) -> Iterator[str]:
    """Yield the texts with a space in them; documentation is not shown."""
    inside = set[ast.AST]()
    for node in ast.walk(tree):  # a parent comes before what it has
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(node.value)
        if node not in inside and " " in (text := _text(node)):
            yield text
        if isinstance(node, ast.JoinedStr):
            inside.update(ast.walk(node))


def _text(node: ast.AST) -> str:
    """Return a literal text, with a digit for each value in it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "0" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
