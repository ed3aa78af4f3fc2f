"""Links between pages lead somewhere: to a file that there is, and to a heading in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.source_tree import ROOT

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "benchmarks/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
)


def links(text: str) -> list[str]:
    """Return where the links and pictures of a page lead; code is none."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^()\s]+)\)", prose)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = set[str]()
    for heading in re.findall(r"^#+ +(.*?) *$", prose, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(name if name not in found else f"{name}-1")
    return found


def broken(page: Path, text: str) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    wrong = list[str]()
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())
        ):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page, page.read_text()) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = "[a](nowhere.md) [b](API.md#nothing) [c](API.md#errors) [d](https://x.y/#z) `[e](no)`"

    assert broken(ROOT / "docs" / "x.md", text) == ["nowhere.md", "API.md#nothing"]


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()

    named = {link.partition("#")[0] for link in links(index)}
    assert {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"} <= named
