"""The reference of the Python API has every public name, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import everfold
from everfold import sync, testing, web, webhooks
from tests.architecture.source_tree import ROOT

pytest.importorskip("pdoc")

MODULES = {
    "everfold": everfold,
    "everfold/sync": sync,
    "everfold/testing": testing,
    "everfold/web": web,
    "everfold/webhooks": webhooks,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    done = subprocess.run(
        [sys.executable, ROOT / "docs/reference.py", folder],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return folder


def ids(page: Path) -> set[str]:
    return set(re.findall(r'id="([^"]*)"', page.read_text()))


@pytest.mark.long
def test_every_public_name_and_call_stands_there(site: Path) -> None:
    for name, module in MODULES.items():
        there = ids(site / f"{name}.html")
        assert set(module.__all__) - {"__version__"} <= there, name
    for page, client in (("everfold", everfold.Everfold), ("everfold/sync", sync.Everfold)):
        calls = {f"Everfold.{one}" for one in dir(client) if not one.startswith("_")}
        assert calls <= ids(site / f"{page}.html")
        assert "Append a new job; once this returns" in (site / f"{page}.html").read_text()


@pytest.mark.long
def test_every_link_leads_somewhere(site: Path) -> None:
    wrong = set[str]()
    for page in site.rglob("*.html"):
        for link in re.findall(r'href="([^"]*)"', page.read_text()):
            if re.match(r"[a-z]+:|\$", link):  # elsewhere, or filled in by the search
                continue
            name, _, anchor = unquote(link).partition("#")
            target = page.parent / name if name else page
            if not target.exists() or (anchor and anchor not in ids(target)):
                wrong.add(f"{page.relative_to(site)}: {link}")
    assert wrong == set()
