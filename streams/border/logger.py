"""Loggers whose records cannot forge other records, whoever's handler writes them.

Rule: all loggers of Everfold are made here. A text from outside is an argument of a record, never
a part of its format, which is an event and its fields: see log_fields.py.
"""

from __future__ import annotations

import logging

from everfold.streams.border.log_fields import argument_text, set_fields
from everfold.streams.border.log_formatter import OWN, traceback_lines
from everfold.streams.border.text import for_log


class HarmlessArguments(logging.Filter):
    """Bounds the texts in a record, masks secrets in them, and shows what acts as escapes.

    The record gets its event and its fields as attributes, too.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and let it pass."""
        set_fields(record)
        if isinstance(record.args, tuple):
            record.args = tuple(map(_harmless, record.args))
        if record.exc_info and record.exc_info[1] and not record.exc_text:
            record.exc_text = "\n".join(traceback_lines(record.exc_info[1]))
        return True


_OURS = "writes_logs"

HARMLESS = HarmlessArguments()


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a name, as `logging.getLogger` does."""
    logger = logging.getLogger(name)
    logger.addFilter(HARMLESS)  # one that is there already is not added again
    return logger


def write_logs(handler: logging.Handler, level: int) -> None:
    """Let a handler write this process's logs, instead of an earlier one of ours.

    `level` is that of Everfold's own loggers. Libraries tell from WARNING on, whatever level that
    is: below it their records show headers, addresses and bodies.
    """
    root = logging.getLogger()
    for earlier in [one for one in root.handlers if getattr(one, _OURS, False)]:
        root.removeHandler(earlier)
        earlier.close()
    setattr(handler, _OURS, True)
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger(OWN).setLevel(level)


def silence(library: str) -> None:
    """Let a library log nothing: what it would say is told in another way."""
    logging.getLogger(library).setLevel(logging.CRITICAL + 1)


def _harmless(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    return for_log(argument_text(value))
