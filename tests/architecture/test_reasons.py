"""docs/REASONS.md explains every word that the sources write, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import get_args

import pytest

from everfold import __main__
from everfold.streams import errors
from everfold.streams.events import reasons
from everfold.why.reason import WhyCode
from tests.architecture.source_tree import PACKAGES, ROOT, modules

PAGE = (ROOT / "docs" / "REASONS.md").read_text()
SOURCES = [one for one in modules(*PACKAGES) if not one.name.startswith("everfold.simulator")]
CODES = ("DONE", "FAILED", "USAGE", "NOT_FOUND", "UNAVAILABLE", "INTERRUPTED")

WRITTEN = {
    "Why a job failed": (reasons.FailureCode, ("Failure", "code")),
    "Why an attempt was lost": (reasons.LostCause, ("Lost", "cause")),
    "Why a runner released a job": (reasons.ReleaseReason, ("Released", "reason")),
    "Why an attempt is being stopped": (reasons.StopReason, ("Stopping", "why")),
    "Why a job expired": (reasons.ExpiryReason, ("Expired", "reason")),
    "Why a job was taken over": (reasons.RecoveryReason, ("Recovered", "reason")),
}
"""Heading -> the words, and the event's field that carries them."""


def explained(heading: str) -> list[str]:
    """Return the words of the tables below a heading, up to the next one of its level."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, heading
    return re.findall(r"^\| `(\w+)` \|", found[1], re.MULTILINE)


def written(name: str, field: str) -> Iterator[str]:
    """Yield each text that a source passes as this field of this event."""
    for module in SOURCES:
        for call in ast.walk(module.tree):
            if isinstance(call, ast.Call) and _name(call.func) == name:
                for keyword in call.keywords:
                    if keyword.arg == field:
                        yield from _texts(keyword.value)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _texts(value: ast.expr) -> Iterator[str]:
    if isinstance(value, ast.IfExp):
        yield from (*_texts(value.body), *_texts(value.orelse))
    elif isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value


@pytest.mark.parametrize("heading", WRITTEN)
def test_each_word_is_explained_once_and_no_other(heading: str) -> None:
    assert sorted(explained(heading)) == sorted(get_args(WRITTEN[heading][0]))


@pytest.mark.parametrize("heading", WRITTEN)
def test_the_sources_write_no_other_word(heading: str) -> None:
    kind, (name, field) = WRITTEN[heading]
    assert set(written(name, field)) - {""} <= set(get_args(kind))


def test_the_sources_write_every_code_and_every_release() -> None:
    assert set(written("Failure", "code")) == set(get_args(reasons.FailureCode))
    assert set(written("Released", "reason")) == set(get_args(reasons.ReleaseReason))


def test_each_reason_to_wait_is_explained_in_the_order_of_deciding() -> None:
    assert explained("Why a job waits") == list(get_args(WhyCode))


def test_each_exit_code_is_explained() -> None:
    assert explained("Exit codes") == [str(getattr(__main__, code)) for code in CODES]


def test_each_error_is_explained_under_its_branch() -> None:
    sections = re.split(r"^### `(\w+)`", PAGE, flags=re.MULTILINE)[1:]
    found = {
        (branch, leaf)
        for branch, text in zip(sections[::2], sections[1::2], strict=True)
        for leaf in re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    }
    leaves = {
        (kind.__mro__[1].__name__, name)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and len(kind.__mro__) - len(errors.EverfoldError.__mro__) == 2
        and issubclass(kind, errors.EverfoldError)
    }  # fmt: skip
    assert found == leaves


def test_a_misspelt_word_would_be_found() -> None:
    module = ast.parse('events.Expired(reason="stail" if x else "stale")')
    [call] = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    assert _name(call.func) == "Expired"
    assert list(_texts(call.keywords[0].value)) == ["stail", "stale"]
