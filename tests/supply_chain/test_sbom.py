"""The list of components in the wheel: that of the lock, valid, and the same each time."""

from __future__ import annotations

import json
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from supply_chain.lock_file import Locked, read_lock
from supply_chain.sbom import FILE, sbom


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_bytes())
    return found


def test_it_is_what_the_lock_says() -> None:
    assert FILE.read_bytes() == sbom(read_lock("run")), "run `python -m supply_chain.sbom`"


def test_it_is_valid_cyclonedx() -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)

    assert validator.validate_str(FILE.read_text()) is None
    broken = FILE.read_text().replace('"scope": "optional"', '"scope": "perhaps"', 1)
    assert validator.validate_str(broken) is not None


def test_it_tells_what_is_always_there_from_what_extras_bring() -> None:
    scopes = {one["name"]: one["scope"] for one in document()["components"]}

    assert scopes["httpx"] == scopes["certifi"] == scopes["idna"] == "required"
    assert scopes["duckdb"] == scopes["greenlet"] == scopes["rich"] == "optional"
    assert "pytest" not in scopes


def test_it_says_who_needs_what() -> None:
    needs = {one["ref"]: one["dependsOn"] for one in document()["dependencies"]}
    named = {one["bom-ref"] for one in document()["components"]}
    (own,) = needs.keys() - named

    assert own.startswith("pkg:pypi/everfold@")
    assert any(one.startswith("pkg:pypi/redis@") for one in needs[own])
    assert not any(one.startswith("pkg:pypi/h11@") for one in needs[own])
    reached = {own}
    while more := {one for ref in reached for one in needs[ref]} - reached:
        reached |= more
    assert reached == named | {own}


def test_another_lock_gives_another_list() -> None:
    other = [*read_lock("run"), Locked("zope", "1", "", ("0" * 64,), ("httpx",))]

    assert b"pkg:pypi/zope@1" in sbom(other)
