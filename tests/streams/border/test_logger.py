"""The records of Everfold's loggers are harmless in the log of whatever program writes them."""

from __future__ import annotations

import ast
import io
import logging
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.border.logger import get_logger
from everfold.streams.border.text import LOG_LIMIT
from tests.architecture.test_decoding import SOURCES

ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
MARK = "Zx9Qv"


@pytest.fixture(scope="module")
def stream() -> Iterator[io.StringIO]:
    """The log of a program that writes records as logging does by default."""
    stream = io.StringIO()
    handler, logger = logging.StreamHandler(stream), get_logger("everfold.test")
    logger.addHandler(handler)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)


def written(stream: io.StringIO, form: str, *arguments: object) -> str:
    stream.truncate(0)
    stream.seek(0)
    get_logger("everfold.test").warning(form, *arguments)
    return stream.getvalue()


@given(text=ANY)
def test_a_record_is_one_line_whatever_its_arguments_are(stream: io.StringIO, text: str) -> None:
    arguments = (text, text, ValueError(text), {text: [text]}, 7)
    line = written(stream, "job=%s why=%r error=%s all=%s n=%d", *arguments)
    assert line.endswith(" n=7\n")
    assert [c for c in line[:-1] if unicodedata.category(c) in HARMFUL] == []


def test_secrets_are_masked_and_length_is_bounded(stream: io.StringIO) -> None:
    assert MARK not in written(stream, "url=%s", f"redis://ada:{MARK}@h:1/0")
    assert len(written(stream, "why=%s", "x" * 99_000)) < LOG_LIMIT + 100


def test_a_traceback_cannot_be_taken_for_a_record(stream: io.StringIO) -> None:
    stream.truncate(0)
    stream.seek(0)
    try:
        raise ValueError(f"redis://:{MARK}@h\n2026-01-01 CRITICAL forged\x1b[2J")
    except ValueError:
        get_logger("everfold.test").exception("broken")
    first, *others, end = stream.getvalue().split("\n")
    assert (first, end) == ("broken", "")
    assert all(line.startswith("  | ") for line in others)
    assert MARK not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_all_loggers_are_made_in_one_place() -> None:
    found = [
        f"{module.path}:{node.lineno}"
        for module in SOURCES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "getLogger"
        and "border" not in str(module.path)
    ]
    assert found == []


def test_no_record_has_a_text_from_outside_in_its_format() -> None:
    found = [
        f"{module.path}:{node.lineno}"
        for module in SOURCES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) in ("logger", "log", "logging")
        and node.func.attr in ("debug", "info", "warning", "error", "exception", "critical")
        and not (node.args and isinstance(node.args[0], ast.Constant))
    ]
    assert found == []
