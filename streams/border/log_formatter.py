"""How Everfold's own processes write logs and tracebacks: no record can forge another one.

Rule: a record is one line; a traceback follows on lines that all begin with a mark.
"""

from __future__ import annotations

import logging
import traceback

from everfold.streams.border.addresses import masked_text
from everfold.streams.border.text import for_log, for_terminal

RECORD_LIMIT = 8_000
READ_LIMIT = 64_000
"""Characters of a message that are searched for secrets; a part of one is behind what is shown."""

TRACEBACK_LINES, LINE_LIMIT = 200, 500

TALKERS = ("httpx", "httpcore", "websockets", "hpack", "asyncio", "aiosqlite", "sqlalchemy")
"""Libraries whose records of lower levels show headers, addresses or bodies."""


class LogFormatter(logging.Formatter):
    """Formats a record as one bounded line, with secrets masked."""

    def format(self, record: logging.LogRecord) -> str:
        lines = [
            f"{self.formatTime(record)} {record.levelname} {for_terminal(record.name)} "
            f"{for_log(_message(record), RECORD_LIMIT, READ_LIMIT)}"
        ]
        if record.exc_info and record.exc_info[1] is not None:
            lines += traceback_lines(record.exc_info[1])
        return "\n".join(lines)


def traceback_lines(error: BaseException) -> list[str]:
    """Return an error's traceback, with the errors that caused it; the last lines of a long one."""
    text = "".join(traceback.format_exception(error))
    lines = masked_text(text).split("\n")
    return [f"  | {for_terminal(line, LINE_LIMIT)}" for line in lines if line][-TRACEBACK_LINES:]


def quiet_talkers() -> None:
    """Keep libraries from logging what they send."""
    for name in TALKERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return f"{record.msg} (its arguments do not fit)"
