"""Every command that a document tells people to type exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from everfold.__main__ import run

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "deploy/README.md", "docs/ARCHITECTURE.md", "docs/PRODUCING.md")
GROUPS = ("jobs", "audit")


def commands() -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for name in DOCUMENTS:
        text = (ROOT / name).read_text()
        blocks = [*re.findall(r"```.*?```", text, re.DOTALL), *re.findall(r"`[^`\n]+`", text)]
        for block in blocks:
            for words in re.findall(r"(?<!from )everfold ((?:[a-z]+ ?){1,2})", block):
                first, *rest = words.split()
                found.add((first, rest[0]) if first in GROUPS and rest else (first,))
    return found


def test_the_documents_name_commands_at_all() -> None:
    assert {("up",), ("submit",), ("doctor",), ("jobs", "watch")} <= commands()


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_the_command_exists(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    assert f"everfold {' '.join(words)}" in capsys.readouterr().out
