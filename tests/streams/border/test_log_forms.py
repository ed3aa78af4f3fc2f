"""A record has an event and fields: for people on a line, for programs as JSON, for any handler."""

from __future__ import annotations

import ast
import json
import logging
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.border.addresses import masked_text
from everfold.streams.border.log_fields import form_of
from everfold.streams.border.log_formatter import JsonLogFormatter, LogFormatter
from everfold.streams.border.logger import get_logger
from everfold.streams.border.text import LOG_LIMIT
from tests.architecture.test_decoding import SOURCES

ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
MARK = "Zx9Qv"
CALLS = ("debug", "info", "warning", "error", "exception", "critical")
TAKEN = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "event", "time", "level"}


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records = list[logging.LogRecord]()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    """The handler of an application in which Everfold runs."""
    handler, logger = Kept(), get_logger("everfold.test.forms")
    logger.addHandler(handler)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)


def made(kept: Kept, form: str, *values: object) -> logging.LogRecord:
    get_logger("everfold.test.forms").warning(form, *values)
    record = kept.records.pop()
    record.created = 1_896_091_200.123
    return record


def test_a_record_is_a_line_for_people(kept: Kept) -> None:
    form = "claimed job=%s attempt=%d backend=%s runner=%r s=%.1f why=%r"
    record = made(kept, form, "0198", 1, "gpu1", "anna", 1.25, 'it said "no" = a\nb')

    assert LogFormatter().format(record) == (
        "2030-01-31T12:00:00.123Z WARNING claimed job=0198 attempt=1 backend=gpu1 runner=anna "
        's=1.2 why="it said \\"no\\" = a\\nb"'
    )


def test_a_record_is_an_object_for_programs(kept: Kept) -> None:
    record = made(kept, "claimed job=%s attempt=%d s=%.1f why=%r", "0198", 1, 1.25, "a\nb")

    assert json.loads(JsonLogFormatter().format(record)) == {
        "time": "2030-01-31T12:00:00.123Z",
        "level": "WARNING",
        "logger": "everfold.test.forms",
        "event": "claimed",
        "job": "0198",
        "attempt": 1,
        "s": 1.2,
        "why": "a\nb",
    }


def test_an_application_sees_the_fields(kept: Kept) -> None:
    record = made(kept, "claimed job=%s attempt=%d", "0198", 1)

    found = record.__dict__
    assert (found["event"], found["job"], found["attempt"]) == ("claimed", "0198", 1)


def test_a_record_of_a_library_keeps_its_sentence_and_its_name() -> None:
    record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "odd %s", ("x=1",), None)

    assert LogFormatter().format(record).endswith("Z WARNING uvicorn.error: odd x=1")
    line = json.loads(JsonLogFormatter().format(record))
    assert (line["logger"], line["message"]) == ("uvicorn.error", "odd x=1")


@given(text=ANY)
def test_hostile_text_is_data_in_both_forms(kept: Kept, text: str) -> None:
    record = made(kept, "odd job=%s why=%r", text, ValueError(text))
    line = LogFormatter().format(record)
    as_json = JsonLogFormatter().format(record)

    assert [c for c in line + as_json if unicodedata.category(c) in HARMFUL] == []
    assert set(json.loads(as_json)) == {"time", "level", "logger", "event", "job", "why"}
    if masked_text(text) == text:
        assert json.loads(as_json)["job"] == text


def test_a_value_forges_no_field(kept: Kept) -> None:
    record = made(kept, "ended job=%s why=%s", "1 status=failed", 'x" job="2')

    assert 'ended job="1 status=failed" why="x\\" job=\\"2"' in LogFormatter().format(record)


def test_a_value_that_ends_with_a_backslash_ends_no_quotes(kept: Kept) -> None:
    record = made(kept, "ended job=%s why=%s", "a\\", 'x\\" job="2')

    assert r'ended job="a\\" why="x\\\" job=\"2"' in LogFormatter().format(record)


@pytest.mark.parametrize("formatter", [LogFormatter(), JsonLogFormatter()])
def test_secrets_are_masked_and_length_is_bounded_in_both_forms(
    kept: Kept, formatter: logging.Formatter
) -> None:
    for secret in (f"redis://ada:{MARK}@h:1/0", f"Authorization: Bearer {MARK}", f"token={MARK}"):
        try:
            raise ValueError(secret)
        except ValueError as error:
            record = made(kept, "odd url=%s why=%r", secret, error)
            record.exc_info = (type(error), error, error.__traceback__)
        assert MARK not in formatter.format(record)
    huge = made(kept, "odd why=%s", "x" * 10_000_000)
    assert len(formatter.format(huge)) < LOG_LIMIT + 300


def test_a_traceback_is_text_in_json(kept: Kept) -> None:
    try:
        raise ValueError("one\x1b[2J")
    except ValueError as error:
        record = made(kept, "broken job=%s", "1")
        record.exc_info = (type(error), error, error.__traceback__)

    line = JsonLogFormatter().format(record)
    assert line.isprintable()
    assert json.loads(line)["error"].endswith("ValueError: one\x1b[2J")


def test_every_record_of_everfold_has_an_event_and_fields() -> None:
    """No field hides what a record, or a line of JSON, has by itself."""
    found = []
    for module in SOURCES:
        for node in ast.walk(module.tree):
            if (text := _form_in(node)) is None:
                continue
            form = form_of(text)
            if form is None or {name for name, _ in form.fields} & TAKEN:
                found.append(f"{module.path} {text}")
    assert found == []


def _form_in(node: ast.AST) -> str | None:
    """Return the format of a call that logs; None where the node is none."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
        return None
    first = node.args[0]
    is_call = node.func.attr in CALLS and ast.unparse(node.func.value) in ("logger", "log")
    if is_call and isinstance(first, ast.Constant) and isinstance(first.value, str):
        return first.value
    return None
