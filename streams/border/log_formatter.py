"""How Everfold's own processes write logs and tracebacks: no record can forge another one.

Rule: a record is one line. In the form for people a traceback follows, on lines that all begin with
a mark; in the form for programs the line is a JSON object. Secrets are masked before either.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime

from everfold.streams.border.addresses import masked_text
from everfold.streams.border.log_fields import Value, fields_of
from everfold.streams.border.text import bounded_for_log, for_json, for_log, for_terminal

RECORD_LIMIT = 8_000
READ_LIMIT = 64_000
"""Characters of a message that are searched for secrets; a part of one is behind what is shown."""

TRACEBACK_LINES, LINE_LIMIT = 200, 500

OWN = "everfold"
"""The logger above all of Everfold's own; others are those of libraries."""

_BARE = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:/+@[]*,~%&()<>!"
)


class LogFormatter(logging.Formatter):
    """Formats a record for people: `2030-01-31T12:00:00.123Z INFO claimed job=... attempt=1`."""

    def format(self, record: logging.LogRecord) -> str:
        lines = [f"{_time(record)} {record.levelname} {_text(record)}"]
        if record.exc_info and record.exc_info[1] is not None:
            lines += traceback_lines(record.exc_info[1])
        return "\n".join(lines)


class JsonLogFormatter(logging.Formatter):
    """Formats a record for programs: time, level, logger, its event and fields or its message, and
    the error with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
        }
        if (found := fields_of(record)) is not None:
            line["event"] = found[0]
            line |= {name: value for name, value in found[1].items() if name not in line}
        else:
            line["message"] = bounded_for_log(_message(record), RECORD_LIMIT, READ_LIMIT)
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = "\n".join(_traceback(record.exc_info[1]))
        return for_json(json.dumps(line, ensure_ascii=False))


def traceback_lines(error: BaseException) -> list[str]:
    """Return an error's traceback, with the errors that caused it; the last lines of a long one."""
    return [f"  | {for_terminal(line)}" for line in _traceback(error)]


def _traceback(error: BaseException) -> list[str]:
    lines = masked_text("".join(traceback.format_exception(error))).split("\n")
    return [line[:LINE_LIMIT] for line in lines if line][-TRACEBACK_LINES:]


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _text(record: logging.LogRecord) -> str:
    if (found := fields_of(record)) is not None:
        event, fields = found
        return " ".join((event, *(f"{name}={_shown(value)}" for name, value in fields.items())))
    said = for_log(_message(record), RECORD_LIMIT, READ_LIMIT)
    is_own = record.name.partition(".")[0] == OWN
    return said if is_own else f"{for_terminal(record.name)}: {said}"


def _shown(value: Value) -> str:
    """Return a field's value, in quotes where it would not be told from what follows."""
    if not isinstance(value, str):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if value and _BARE.issuperset(value):
        return value
    return '"' + for_terminal(value.replace("\\", r"\\")).replace('"', '\\"') + '"'


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return f"{record.msg} (its arguments do not fit)"
