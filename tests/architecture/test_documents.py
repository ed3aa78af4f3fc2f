"""docs/ARCHITECTURE.md says what the code does: every key, and a test for every failure."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from everfold.streams.redis.keys import Keyspace

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
SAMPLE = {
    "partition": 0,
    "job_id": "J",
    "queue": "Q",
    "priority": "high",
    "sha256": "S",
    "name": "N",
}


def keys() -> dict[str, str]:
    """Return every key of a sample namespace, and the type its docstring states."""
    space, found = Keyspace("ns", 1), {}
    for place in (space, space.jobs(0), space.states(0, "N"), space.subscription(0, "N")):
        for _, method in inspect.getmembers(place, inspect.ismethod):
            if kind := re.match(r"[A-Z]{3,}\b", inspect.getdoc(method) or ""):
                wanted = inspect.signature(method).parameters
                key = method(*(SAMPLE[parameter] for parameter in wanted))
                found[key] = kind[0].lower()
    return found


def documented() -> dict[str, str]:
    rows = re.findall(r"^\| `([^`]*<ns>[^`]*)` \| (\w+) \|", TEXT, re.MULTILINE)
    spelled = {"<ns>": "ns", ":p}": ":0}", "<job>": "J", "<queue>": "Q"}
    spelled |= {"<priority>": "high", "<sha256>": "S", "<name>": "N"}
    found = {}
    for key, kind in rows:
        for written, sample in spelled.items():
            key = key.replace(written, sample)
        found[key] = kind
    return found


def test_the_key_table_names_every_key_with_its_type_and_no_other() -> None:
    assert documented() == keys()


def test_every_test_that_the_failure_table_names_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)
    assert len(named) > 35
    for path, test in named:
        assert f"def {test}(" in (ROOT / "tests" / path).read_text(), f"{path}::{test}"


def test_every_file_that_the_readme_links_to_exists() -> None:
    readme = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", readme) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
