"""Text from outside acts nowhere, whatever it is."""

from __future__ import annotations

import io
import json
import logging
import unicodedata
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everfold.streams.border.log_formatter import RECORD_LIMIT, LogFormatter
from everfold.streams.border.text import for_json, for_log, for_markup, for_terminal

ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn"}
WHOLE = settings(max_examples=200)


def harmful(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in HARMFUL]


@WHOLE
@given(ANY)
def test_nothing_that_acts_reaches_a_terminal_a_log_or_markup(text: str) -> None:
    for shown in (for_terminal(text), for_log(text), for_markup(text)):
        assert harmful(shown) == []
        shown.encode()
    assert ElementTree.fromstring(f"<a b='{for_markup(text)}'>{for_markup(text)}</a>") is not None


@WHOLE
@given(ANY.map(lambda text: text.encode(errors="replace").decode()))
def test_json_stays_the_same_value_and_acts_nowhere(text: str) -> None:
    document = for_json(msgspec.json.encode({text: [text]}).decode())
    assert harmful(document) == []
    assert json.loads(document) == {text: [text]}


@WHOLE
@given(ANY)
def test_a_record_is_one_line_whatever_it_says(text: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogFormatter())
    logger = logging.Logger(text or "x")
    logger.addHandler(handler)
    logger.warning("job=%s why=%s", text, text)
    assert harmful(stream.getvalue().removesuffix("\n")) == []
    try:
        raise ValueError(f"{text}\n2026 CRITICAL forged")
    except ValueError:
        logger.exception("broken")
    _, _, *trace = stream.getvalue().split("\n")
    assert all(line.startswith("  | ") for line in trace[:-1])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("[b]:x:[/b]", "[b]:x:[/b]"),
        ("日本語 é ✗ 😀", "日本語 é ✗ 😀"),
    ],
)
def test_what_acts_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert for_terminal(text) == shown


def test_length_is_bounded() -> None:
    assert for_terminal("x" * 50_000).endswith("… (40,000 more characters)")
    assert len(for_log("x" * 50_000)) < 2_100
    record = logging.LogRecord("x", logging.INFO, "", 0, "y" * 99_000, None, None)
    assert len(LogFormatter().format(record)) < RECORD_LIMIT + 200
